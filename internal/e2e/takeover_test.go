package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/brokertest"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// fleetSettings returns the settings of nodes that share Redis and a log of this kind.
// publish publishes to the log through RabbitMQ; it is nil for other logs.
func fleetSettings(t *testing.T, log string) (settings []string, publish func(room string, n int64) error) {
	t.Helper()
	settings = []string{"NODE_ENV=production", "MAX_EVENTS_PER_SECOND=0", "MAX_HANDSHAKES_PER_SECOND=1000000", "MAX_HANDSHAKES_PER_IP_PER_SECOND=0"}
	if log == "memory" {
		return append(settings, "EVENT_LOG=memory"), nil
	}
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	settings = append(settings, "USE_REDIS=true", "REDIS_URL=redis://"+redis.Addr, "EVENT_LOG="+log)
	if log == "redis" {
		return settings, nil
	}
	broker := brokertest.Shared(t)
	publisher, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(publisher.Close)
	name := "takeover" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	publish = func(room string, n int64) error {
		return publisher.Publish(name, "message.sent", amqp.Publishing{Body: []byte(message(room, n))})
	}
	return append(settings, "USE_RABBITMQ=true", "RABBITMQ_URL="+broker.URL, "RABBITMQ_EXCHANGE="+name, "RABBITMQ_QUEUE_PREFIX="+name), publish
}

func message(room string, n int64) string {
	return fmt.Sprintf(`{"conversationId":%q,"senderId":"1","recipientId":"2","message":"%d"}`, room, n)
}

// handoverLoad has unmodified clients in a room of a gateway, a stream of messages to the
// room, and the walker: a client on another node that joins and leaves it.
type handoverLoad struct {
	t      *testing.T
	room   string
	crowds []*crowd
	stdin  []io.WriteCloser
	sent   atomic.Int64 // messages
	steps  atomic.Int64 // joins and leaves of the walker
	stop   context.CancelFunc
	busy   sync.WaitGroup
}

const membersEach = 6 // for each transport

// startHandoverLoad connects clients to g and starts the messages. If walker is not nil, it
// joins and leaves the room until close.
func startHandoverLoad(t *testing.T, g *gateway, publish func(string, int64) error, walker *client, mode string) *handoverLoad {
	t.Helper()
	s := &handoverLoad{t: t, room: "stage"}
	for i, transport := range transportSettings {
		cmd := script(t, g, transport, "handover.mjs", fmt.Sprint(i*100), fmt.Sprint(membersEach), s.room, mode)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		s.crowds, s.stdin = append(s.crowds, g.watch(t, cmd)), append(s.stdin, stdin)
	}
	for _, c := range s.crowds {
		c.want("ready", 1)
	}
	if publish == nil {
		publish = func(room string, n int64) error {
			status, answer, err := g.Post("message.sent", message(room, n))
			if err == nil && status/100 != 2 {
				err = fmt.Errorf("%d %s", status, answer)
			}
			return err
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	t.Cleanup(stop)
	s.busy.Go(func() {
		for ctx.Err() == nil {
			n := s.sent.Load() + 1
			if err := publish(s.room, n); err != nil {
				if mode == "" {
					t.Errorf("message %d: %v", n, err)
					return
				}
				time.Sleep(10 * time.Millisecond) // while no process serves
				continue
			}
			s.sent.Store(n)
			time.Sleep(time.Millisecond)
		}
	})
	if walker != nil {
		s.busy.Go(func() {
			for ctx.Err() == nil {
				event := [...]string{"join_room", "leave_room"}[s.steps.Load()%2]
				answered, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
				answer, err := walker.EmitAck(answered, event, map[string]string{"roomType": "conversation", "roomId": s.room})
				cancel()
				if err != nil || !strings.Contains(string(answer), "success") {
					t.Errorf("the walker's step %d: %s %v", s.steps.Load()+1, answer, err)
					return
				}
				s.steps.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return s
}

// flow waits until 50 more messages have been sent.
func (s *handoverLoad) flow() {
	s.t.Helper()
	before := s.sent.Load()
	gatewaytest.Await(s.t, "more events", func() bool { return s.sent.Load() > before+50 || s.t.Failed() })
}

// close stops the messages and the walker, and waits until every client has seen all
// of them.
func (s *handoverLoad) close() {
	s.t.Helper()
	s.stop()
	s.busy.Wait()
	s.awaitAll(s.sent.Load())
}

// awaitReturnAndClose waits until every client is connected and has seen 50 more messages,
// and then stops the messages.
func (s *handoverLoad) awaitReturnAndClose() {
	s.t.Helper()
	s.awaitAll(s.sent.Load() + 50)
	s.stop()
	s.busy.Wait()
}

// awaitAll waits until every client has seen the messages up to last and all steps of
// the walker.
func (s *handoverLoad) awaitAll(last int64) {
	s.t.Helper()
	goal, _ := json.Marshal(map[string]int64{"last": last, "steps": s.steps.Load()})
	for _, in := range s.stdin {
		_, _ = in.Write(append(goal, '\n'))
	}
	for _, c := range s.crowds {
		c.want("end", membersEach)
	}
}

// startPeer starts another node of g's fleet on a port of its own.
func (g *gateway) startPeer(t *testing.T, settings []string) *gateway {
	t.Helper()
	n := &gateway{Gateway: gatewaytest.New(t, settings...), t: t}
	n.Launch()
	n.AwaitReady()
	return n
}

// Three hand-overs happen while services and a client of another node cause events,
// with the log in memory, in Redis and in RabbitMQ. Unmodified clients on all
// transports must get each event once and in order, and no connection may end.
func TestUnmodifiedClientsStayConnectedInHandOvers(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	for _, log := range []string{"memory", "redis", "rabbitmq"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			settings, publish := fleetSettings(t, log)
			g := start(t, append(settings, handoverSocket(t), "EVENT_LOOPS=2")...)
			var walker *client
			if log != "memory" {
				walker = g.startPeer(t, settings).dial(t, "walker", false)
			}
			s := startHandoverLoad(t, g, publish, walker, "")
			s.flow()
			current := g
			for _, loops := range []string{"3", "1", "2"} {
				current = current.succeed(t, "EVENT_LOOPS="+loops)
				s.flow()
			}
			s.close()
			if n := current.Metric("gateway_handovers_total"); n != 3 {
				t.Errorf("%v hand-overs counted, want 3", n)
			}
		})
	}
}

// fault is a fault of one process during a hand-over.
type fault struct {
	name   string
	taker  bool // of the process that takes over; otherwise of the one that hands over
	signal syscall.Signal
	pause  time.Duration // time from SIGSTOP to SIGCONT
}

// longerThanAnyPhase is a pause after which the other side has given up the hand-over.
const longerThanAnyPhase = 5 * time.Second

var faults = []fault{
	{"the giver is killed", false, syscall.SIGKILL, 0},
	{"the taker is killed", true, syscall.SIGKILL, 0},
	{"the giver is paused", false, syscall.SIGSTOP, longerThanAnyPhase},
	{"the taker is paused", true, syscall.SIGSTOP, longerThanAnyPhase},
	{"the giver is paused briefly", false, syscall.SIGSTOP, 300 * time.Millisecond},
	{"the taker is paused briefly", true, syscall.SIGSTOP, 300 * time.Millisecond},
}

// One side of a hand-over is killed or paused at a random moment. Afterwards one
// process must serve all clients. Clients may have reconnected. Those that recovered
// must have missed nothing and got nothing twice; the others must get everything once
// and in order from their first message on.
func TestOneProcessServesAfterAFailedHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	rounds := 1
	if text := os.Getenv("HANDOVERS"); text != "" {
		count, _ := strconv.Atoi(text)
		rounds = max(count/len(faults), 1)
	}
	settings, publish := fleetSettings(t, "rabbitmq")
	current := start(t, append(settings, handoverSocket(t), "EVENT_LOOPS=2")...)
	s := startHandoverLoad(t, current, publish, nil, "return")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		for _, m := range faults {
			at := time.Duration(r.Int64N(int64(400 * time.Millisecond)))
			t.Logf("%s after %v", m.name, at)
			current = current.succeedWithFault(t, m, at)
			s.flow()
			current.AwaitReady()
		}
	}
	s.awaitReturnAndClose()
	if n := current.Metric("gateway_sockets"); n < 3*membersEach {
		t.Errorf("%v sockets at the process that serves, want %d or more", n, 3*membersEach)
	}
}

// succeedWithFault starts a process that takes over from g and applies m to one of the two.
// It returns the process that serves afterwards, or a new one if none does.
func (g *gateway) succeedWithFault(t *testing.T, m fault, at time.Duration) *gateway {
	t.Helper()
	next := &gateway{Gateway: g.Successor(), t: t}
	next.Begin()
	victim := g
	if m.taker {
		victim = next
	}
	time.Sleep(at) // the moment is the variable of this test
	victim.Signal(m.signal)
	if m.signal == syscall.SIGSTOP {
		time.Sleep(m.pause)
		victim.Signal(syscall.SIGCONT)
	}
	gatewaytest.Await(t, "one process to end", func() bool { return g.HasEnded() || next.HasEnded() })
	left := next
	if next.HasEnded() {
		left = g
	}
	gatewaytest.Await(t, "the other one to serve, or to end too", func() bool {
		status, _, err := left.Get("/health")
		return left.HasEnded() || err == nil && status == http.StatusOK
	})
	if !left.HasEnded() {
		return left
	}
	third := &gateway{Gateway: g.Successor(), t: t}
	third.Launch()
	return third
}

// started returns the id of the process that "gateway handover" has started, read from
// the command's output. The process is stopped when the test ends.
func started(t *testing.T, out string) (pid int) {
	t.Helper()
	found := regexp.MustCompile(`process (\d+) starts`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("the output names no process:\n%s", out)
	}
	pid, _ = strconv.Atoi(found[1])
	t.Cleanup(func() {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		gatewaytest.Await(t, "the end of the process that was started", func() bool {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid)
		})
	})
	return pid
}

// zombie reports whether a process has ended and was not waited for.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// toFile makes a command append its output to a file. Without systemd, the next
// process inherits the output of the one before.
func toFile(t *testing.T, command []string) (wrapped []string, file string) {
	file = filepath.Join(t.TempDir(), "console")
	return append([]string{"sh", "-c", `exec "$0" "$@" >>` + file + " 2>&1"}, command...), file
}

// "gateway handover" starts the next process, prints its progress, and returns when
// that process serves or has failed. Wrong settings exit with 2, other failures with
// 1, and neither affects clients.
func TestHandoverCommand(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	g := &gateway{Gateway: gatewaytest.New(t, handoverSocket(t)), t: t}
	var console string
	g.Command, console = toFile(t, []string{gatewaytest.Program(t)})
	g.Launch()
	g.Command = nil
	c := g.dial(t, "ann", false)
	if out, err := g.Successor("ROUTES_FILE=/nowhere").Run("handover"); exitOf(err) != 1 || !strings.Contains(out, "/nowhere") {
		t.Errorf("a successor without its routes: %v\n%s", err, out)
	}
	if out, err := g.Successor("PORT=none").Run("handover"); exitOf(err) != 2 {
		t.Errorf("a wrong setting: %v\n%s", err, out)
	}
	if out, err := g.Successor("HANDOVER_SOCKET=").Run("handover"); exitOf(err) != 2 || !strings.Contains(out, "HANDOVER_SOCKET is not set") {
		t.Errorf("without HANDOVER_SOCKET: %v\n%s", err, out)
	}
	if out, err := g.Successor(handoverSocket(t)).Run("handover"); exitOf(err) != 1 || !strings.Contains(out, "no process listens at") {
		t.Errorf("where no gateway runs: %v\n%s", err, out)
	}
	c.do("join_room", "1") // the failed attempts must not affect the client

	out, err := g.Successor().Run("handover")
	pid := started(t, out)
	if err != nil || !strings.Contains(out, fmt.Sprintf("process %d serves 1 sessions", g.Pid())) || !strings.Contains(out, "connections taken over") {
		t.Errorf("%v:\n%s", err, out)
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d of the process before, want 0", code)
	}
	c.do("leave_room", "1")
	if !strings.Contains(read(t, console), `"msg":"taken over"`) {
		t.Errorf("process %d does not write to the output of the process before", pid)
	}
}

func exitOf(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// Reloading the service with changed settings runs ExecReload of the unit: a new
// process takes over, notifies systemd that it is the main process, and continues the
// watchdog messages.
func TestServiceReloadHandsOverToANewProcess(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	manager := newSystemd(t)
	i := install(t)
	i.Command, _ = toFile(t, withEnvironment(i.execute(t, "ExecStart="), "NOTIFY_SOCKET="+manager.path, "WATCHDOG_USEC=400000"))
	i.Launch()
	manager.await(t, "READY=1")
	c := i.dial(t, "ann", false)
	i.write("PING_INTERVAL=20s") // a SIGHUP alone cannot apply this setting

	reload := withEnvironment(i.execute(t, "ExecReload="), "NOTIFY_SOCKET="+manager.path)
	out, err := exec.Command(reload[0], reload[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	pid := started(t, string(out))
	manager.await(t, fmt.Sprintf("MAINPID=%d\nREADY=1", pid))
	manager.await(t, "WATCHDOG=1")
	if code := i.Wait(); code != 0 {
		t.Errorf("exit code %d of the process before, want 0", code)
	}
	c.do("join_room", "1")
	if doctor, _ := i.command("doctor"); !strings.Contains(doctor, fmt.Sprintf("process %d", pid)) || !strings.Contains(doctor, "as on disk") {
		t.Errorf("the doctor does not report the new process with the settings on disk:\n%s", doctor)
	}
}

// withEnvironment adds variables to a command that begins with env -i.
func withEnvironment(command []string, variables ...string) []string {
	return slices.Concat(command[:2], variables, command[2:])
}
