package routes

import (
	"fmt"
	"strings"
	"testing"
)

// benchBody has 256 bytes.
var benchBody = func() []byte {
	const rest = `{"conversationId":4711,"senderId":"12345","recipientId":"67890","timestamp":"2026-01-02T03:04:05.678Z","message":""}`
	return []byte(strings.Replace(rest, `""`, `"`+strings.Repeat("x", 256-len(rest))+`"`, 1))
}()

func BenchmarkEncode(b *testing.B) {
	enveloped := fmt.Appendf(nil, `{"eventName":"message.sent","source":"messages","data":%s}`, benchBody)
	for name, body := range map[string][]byte{"bare": benchBody, "enveloped": enveloped} {
		b.Run(name, func(b *testing.B) {
			e := NewEncoder(table(b), 10_000)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := e.Encode("message.sent", body, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
