package codec

import "fmt"

// Layer names the grammar that was broken.
type Layer uint8

// The layers, from the socket upwards.
const (
	LayerHTTP Layer = iota
	LayerWebSocket
	LayerEngine
	LayerSocket
	LayerProxy // below HTTP, where there is one
)

// String implements fmt.Stringer.
func (l Layer) String() string {
	switch l {
	case LayerHTTP:
		return "http"
	case LayerWebSocket:
		return "websocket"
	case LayerEngine:
		return "engine.io"
	case LayerSocket:
		return "socket.io"
	case LayerProxy:
		return "proxy protocol"
	}
	return fmt.Sprintf("layer %d", uint8(l))
}

// A SyntaxError says that bytes from outside do not follow their grammar.
type SyntaxError struct {
	Layer  Layer
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string { return e.Layer.String() + ": " + e.Reason }

// A LimitError says that something from outside is larger than allowed.
type LimitError struct {
	Layer Layer
	What  string
	Got   int
	Max   int
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: %s %d, max %d", e.Layer, e.What, e.Got, e.Max)
}

func syntax(l Layer, format string, args ...any) error {
	return &SyntaxError{Layer: l, Reason: fmt.Sprintf(format, args...)}
}
