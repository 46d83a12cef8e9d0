package loop

import "testing"

func TestLocalPages(t *testing.T) {
	for origin, want := range map[string]bool{
		"http://localhost:5173": true, "https://localhost": true, "http://127.0.0.1:8080": true, "http://[::1]:1": true,
		"HTTP://LOCALHOST:3000":         true,
		"http://localhost.evil.example": false, "http://localhost:80.evil.example": false, "http://localhost:": false,
		"http://evil.example": false, "http://localhost@evil.example": false, "null": false, "": false,
		"file://localhost": false, "http://127.0.0.10": false, "http://evil.localhost:1": false,
	} {
		if got := localPage([]byte(origin)); got != want {
			t.Errorf("%q: %v, want %v", origin, got, want)
		}
	}
}
