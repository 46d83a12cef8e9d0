package redislog

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/upstream/eventlog"
)

// Fields of an entry in Redis. An entry without fieldKey is no event.
const (
	fieldAt        = "at" // when it was added, by the clock of Redis; milliseconds
	fieldKey       = "key"
	fieldExchange  = "exchange"
	fieldMessageID = "id"
	fieldAppID     = "app"
	fieldTrace     = "trace"
	fieldPublished = "published" // microseconds
	fieldHeaders   = "headers"   // JSON
	fieldBody      = "body"
)

// fieldsOf returns the fields of an entry, names and values in turn.
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
		if text, err := json.Marshal(e.Headers); err == nil { // what JSON does not have is of no use to readers
			fields = append(fields, fieldHeaders, string(text))
		}
	}
	return append(fields, fieldBody, rueidis.BinaryString(e.Body))
}

// entryOf makes an entry of its fields.
func entryOf(p eventlog.Position, fields []rueidis.XRangeFieldValue) eventlog.Entry {
	e := eventlog.Entry{Position: p}
	for _, f := range fields {
		switch f.Field {
		case fieldKey:
			e.Key = f.Value
		case fieldExchange:
			e.Exchange = f.Value
		case fieldMessageID:
			e.MessageID = f.Value
		case fieldAppID:
			e.AppID = f.Value
		case fieldTrace:
			e.Trace = f.Value
		case fieldPublished:
			if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil {
				e.Published = time.UnixMicro(n)
			}
		case fieldHeaders:
			_ = json.Unmarshal([]byte(f.Value), &e.Headers) // an entry that others have written may have anything there
		case fieldBody:
			e.Body = []byte(f.Value)
		}
	}
	return e
}
