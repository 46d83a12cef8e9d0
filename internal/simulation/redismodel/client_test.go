package redismodel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
)

// A peer is a connection to a real server. A goroutine reads replies into out.
type peer struct {
	conn net.Conn
	out  chan Reply
}

func dial(addr string) (*peer, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &peer{conn: conn, out: make(chan Reply, 1<<16)}
	go p.read()
	p.send("HELLO", "3")
	_, err = p.next()
	return p, err
}

func (p *peer) read() {
	defer close(p.out)
	in := bufio.NewReader(p.conn)
	for {
		r, err := readReply(in)
		if err != nil {
			return
		}
		p.out <- r
	}
}

func (p *peer) send(args ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	_, _ = io.WriteString(p.conn, b.String())
}

// next waits for the next reply or push.
func (p *peer) next() (Reply, error) {
	select {
	case r, open := <-p.out:
		if !open {
			return Reply{}, io.EOF
		}
		return r, nil
	case <-time.After(testkit.Patience):
		return Reply{}, fmt.Errorf("no reply within %v", testkit.Patience)
	}
}

func readReply(in *bufio.Reader) (Reply, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return Reply{}, err
	}
	kind, text := Kind(line[0]), strings.TrimSuffix(line[1:], "\r\n")
	r := Reply{Kind: kind}
	n, _ := strconv.ParseInt(text, 10, 64)
	switch kind {
	case Simple, Fault, Double:
		r.Text = text
	case Int:
		r.Int = n
	case Null:
	case Bulk:
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return r, err
		}
		r.Text = string(b[:n])
	case Array, Set, Push, Map:
		if kind == Map {
			n *= 2
		}
		for range n {
			e, err := readReply(in)
			if err != nil {
				return r, err
			}
			r.Elems = append(r.Elems, e)
		}
	default:
		return r, fmt.Errorf("unknown type of reply: %q", line)
	}
	return r, nil
}
