package redismodel

import (
	"testing"
	"time"
)

// out returns what was written to a connection, and removes it.
func out(c *Conn) (list []string) {
	for _, r := range c.Out {
		list = append(list, r.String())
	}
	c.Out = nil
	return list
}

// want compares what was written to a connection.
func want(t *testing.T, c *Conn, list ...string) {
	t.Helper()
	got := out(c)
	if len(got) != len(list) {
		t.Fatalf("written: %q, want %q", got, list)
	}
	for i := range got {
		if got[i] != list[i] {
			t.Fatalf("written: %q, want %q", got, list)
		}
	}
}

func TestRestartClosesConnectionsAndLoadsTheSnapshot(t *testing.T) {
	s := New()
	c := s.Connect()
	c.Do("SADD", "kept", "1")
	c.Do("SET", "short", "x", "PX", "100")
	snapshot := s.Snapshot()
	c.Do("SADD", "kept", "2")
	c.Do("SUBSCRIBE", "channel")
	s.Advance(time.Second)
	s.Restart(snapshot)
	if !c.Closed {
		t.Error("the connection is open after a restart, want it closed")
	}
	c = s.Connect()
	c.Do("SMEMBERS", "kept")
	c.Do("EXISTS", "short")
	c.Do("PUBLISH", "channel", "x")
	want(t, c, `~["1"]`, "0", "0")
}

func TestEvictedKeyIsInvalidated(t *testing.T) {
	s := New()
	c := s.Connect()
	c.Do("CLIENT", "TRACKING", "ON")
	c.Do("SADD", "a", "1")
	c.Do("SMEMBERS", "a")
	out(c)
	if !s.Evict("a") || s.Evict("a") {
		t.Error("Evict of a key twice: want true, then false")
	}
	want(t, c, `>["invalidate" *["a"]]`)
}

func TestReadOnlyAndLoadingServerRefuse(t *testing.T) {
	s := New()
	c := s.Connect()
	s.ReadOnly = true
	c.Do("SET", "a", "1")
	c.Do("GET", "a")
	want(t, c, "-READONLY You can't write against a read only replica.", "nil")
	s.ReadOnly, s.Loading = false, true
	c.Do("GET", "a")
	c.Do("PUBLISH", "a", "b")
	want(t, c, "-LOADING Redis is loading the dataset in memory", "0")
}

func TestBlockedReadEndsAfterItsTimeout(t *testing.T) {
	s := New()
	c := s.Connect()
	c.Do("XREAD", "BLOCK", "50", "STREAMS", "s", "$")
	c.Do("PING")
	want(t, c)
	if at, there := s.Next(); !there || at != 50*time.Millisecond {
		t.Errorf("Next() = %v, %v, want 50ms, true", at, there)
	}
	s.Advance(50 * time.Millisecond)
	want(t, c, "nil", "+PONG")
}

func TestUnsupportedCommandsPanic(t *testing.T) {
	for _, args := range [][]string{{"EVAL", "return 1", "0"}, {"SET", "a", "1", "EXAT", "1"}, {"XREADGROUP"}, {"SCAN", "7"}} {
		func() {
			defer func() {
				if _, refused := recover().(Unsupported); !refused {
					t.Errorf("%q was executed, want a panic with Unsupported", args)
				}
			}()
			New().Connect().Do(args...)
		}()
	}
}
