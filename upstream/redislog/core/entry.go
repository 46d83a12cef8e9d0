package core

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Fields of an entry in Redis. An entry without fieldKey is not an event.
const (
	fieldAt        = "at" // when the entry was added, Unix ms by the clock of Redis
	fieldKey       = "key"
	fieldExchange  = "exchange"
	fieldMessageID = "id"
	fieldAppID     = "app"
	fieldTrace     = "trace"
	fieldPublished = "published" // microseconds
	fieldHeaders   = "headers"   // JSON
	fieldBody      = "body"
)

// fieldsOf returns the fields of an entry, names and values alternating.
func fieldsOf(e *eventlog.Entry) []string {
	fields := make([]string, 0, 10)
	fields = append(fields, fieldKey, e.Key)
	for _, f := range [...][2]string{
		{fieldExchange, e.Exchange}, {fieldMessageID, e.MessageID}, {fieldAppID, e.AppID}, {fieldTrace, e.Trace},
	} {
		if f[1] != "" {
			fields = append(fields, f[0], f[1])
		}
	}
	if !e.Published.IsZero() {
		fields = append(fields, fieldPublished, strconv.FormatInt(e.Published.UnixMicro(), 10))
	}
	if len(e.Headers) > 0 {
		if text, err := json.Marshal(e.Headers); err == nil { // headers that JSON cannot express are dropped: readers do not use them
			fields = append(fields, fieldHeaders, string(text))
		}
	}
	return append(fields, fieldBody, string(e.Body))
}

// entryOf parses the fields of an entry.
func entryOf(p eventlog.Position, fields []string) eventlog.Entry {
	e := eventlog.Entry{Position: p}
	for i := 0; i+1 < len(fields); i += 2 {
		value := fields[i+1]
		switch fields[i] {
		case fieldKey:
			e.Key = value
		case fieldExchange:
			e.Exchange = value
		case fieldMessageID:
			e.MessageID = value
		case fieldAppID:
			e.AppID = value
		case fieldTrace:
			e.Trace = value
		case fieldPublished:
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				e.Published = time.UnixMicro(n)
			}
		case fieldHeaders:
			_ = json.Unmarshal([]byte(value), &e.Headers) // other programs may have written anything there
		case fieldBody:
			e.Body = []byte(value)
		}
	}
	return e
}
