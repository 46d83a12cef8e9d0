package bearer

import "testing"

func TestToken(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "abc": "",
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER  abc ": "abc",
	} {
		if got := Token(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestTokensHas(t *testing.T) {
	tokens := New("", "one", "two")
	for token, want := range map[string]bool{"one": true, "two": true, "": false, "three": false, "on": false} {
		if got := tokens.Has(token); got != want {
			t.Errorf("%q: %v, want %v", token, got, want)
		}
	}
	if New("").Has("") || (Tokens{}).Has("") {
		t.Error("an empty token is good where none is set")
	}
}
