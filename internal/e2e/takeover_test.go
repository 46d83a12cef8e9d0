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

// fleetSettings are where nodes meet, and where their log is.
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

// A scene is unmodified clients in a room of a gateway, a stream of events and
// somebody on another node who walks in and out.
type scene struct {
	t      *testing.T
	room   string
	crowds []*crowd
	stdin  []io.WriteCloser
	sent   atomic.Int64 // messages
	steps  atomic.Int64 // of the walker
	stop   context.CancelFunc
	busy   sync.WaitGroup
}

const membersEach = 6 // of each transport

// openScene has clients come to g. walker is somebody on another node; nil:
// nobody walks.
func openScene(t *testing.T, g *gateway, publish func(string, int64) error, walker *client, mode string) *scene {
	t.Helper()
	s := &scene{t: t, room: "stage"}
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
				time.Sleep(10 * time.Millisecond) // while nobody serves
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

// flow waits until some more has happened.
func (s *scene) flow() {
	s.t.Helper()
	before := s.sent.Load()
	gatewaytest.Await(s.t, "more events", func() bool { return s.sent.Load() > before+50 || s.t.Failed() })
}

// close ends the events and wants every client to have seen them all.
func (s *scene) close() {
	s.t.Helper()
	s.stop()
	s.busy.Wait()
	s.awaitAll(s.sent.Load())
}

// closeReturning wants every client to be there and to see some more events,
// however long it takes to come back, and ends them.
func (s *scene) closeReturning() {
	s.t.Helper()
	s.awaitAll(s.sent.Load() + 50)
	s.stop()
	s.busy.Wait()
}

// awaitAll waits until every client has seen the messages up to last, and all
// steps of the walker.
func (s *scene) awaitAll(last int64) {
	s.t.Helper()
	goal, _ := json.Marshal(map[string]int64{"last": last, "steps": s.steps.Load()})
	for _, in := range s.stdin {
		_, _ = in.Write(append(goal, '\n'))
	}
	for _, c := range s.crowds {
		c.want("end", membersEach)
	}
}

// startPeer starts another node of g's fleet, on a port of its own.
func (g *gateway) startPeer(t *testing.T, settings []string) *gateway {
	t.Helper()
	n := &gateway{Gateway: gatewaytest.New(t, settings...), t: t}
	n.Launch()
	n.AwaitReady()
	return n
}

// Unmodified clients on all transports notice nothing while one process after
// the other takes over, with Redis, with RabbitMQ and with neither, though
// events come all the time from services and from another node.
func TestUnmodifiedClientsNoticeNothingOfAHandOver(t *testing.T) {
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
			s := openScene(t, g, publish, walker, "")
			s.flow()
			current := g
			for _, loops := range []string{"3", "1", "2"} {
				current = current.succeed(t, "EVENT_LOOPS="+loops)
				s.flow()
			}
			s.close()
			if n := current.Metric("gateway_handovers_total"); n != 3 {
				t.Errorf("%v hand-overs counted, want those of all three processes", n)
			}
		})
	}
}

// mischief is done to one side of a hand-over.
type mischief struct {
	name   string
	taker  bool // to the process that takes over; else to the other one
	signal syscall.Signal
	pause  time.Duration // before it may go on, of SIGSTOP
}

// longerThanAnyPhase is for a process that stands still: the other side has
// given it up by then.
const longerThanAnyPhase = 5 * time.Second

var mischiefs = []mischief{
	{"the giver is killed", false, syscall.SIGKILL, 0},
	{"the taker is killed", true, syscall.SIGKILL, 0},
	{"the giver stands still", false, syscall.SIGSTOP, longerThanAnyPhase},
	{"the taker stands still", true, syscall.SIGSTOP, longerThanAnyPhase},
	{"the giver stutters", false, syscall.SIGSTOP, 300 * time.Millisecond},
	{"the taker stutters", true, syscall.SIGSTOP, 300 * time.Millisecond},
}

// Whichever side of a hand-over dies or stands still, and when: one process
// serves everybody afterwards. Clients may have come back. Those that have
// recovered have missed nothing and have got nothing twice; those that have not
// get everything once and in order from their first message on.
func TestOneProcessServesWhateverBecomesOfAHandOver(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it does not hand over")
	rounds := 1
	if text := os.Getenv("HANDOVERS"); text != "" {
		count, _ := strconv.Atoi(text)
		rounds = max(count/len(mischiefs), 1)
	}
	settings, publish := fleetSettings(t, "rabbitmq")
	current := start(t, append(settings, handoverSocket(t), "EVENT_LOOPS=2")...)
	s := openScene(t, current, publish, nil, "return")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		for _, m := range mischiefs {
			at := time.Duration(r.Int64N(int64(400 * time.Millisecond)))
			t.Logf("%s after %v", m.name, at)
			current = current.disturbed(t, m, at)
			s.flow()
			current.AwaitReady()
		}
	}
	s.closeReturning()
	if n := current.Metric("gateway_sockets"); n < 3*membersEach {
		t.Errorf("%v sockets at the process that serves, want %d or more", n, 3*membersEach)
	}
}

// disturbed starts a successor of g and does m to one of them. It returns the
// process that serves afterwards; a new one if none does.
func (g *gateway) disturbed(t *testing.T, m mischief, at time.Duration) *gateway {
	t.Helper()
	next := &gateway{Gateway: g.Successor(), t: t}
	next.Begin()
	victim := g
	if m.taker {
		victim = next
	}
	time.Sleep(at) // the instant is what the test is about
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

// started returns the process that "gateway handover" has started, by what that
// printed. It is stopped when the test ends.
func started(t *testing.T, out string) (pid int) {
	t.Helper()
	found := regexp.MustCompile(`process (\d+) starts`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no process is named:\n%s", out)
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

// zombie reports whether a process has ended and nobody has asked how.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

// toFile has a command write to a file, as a gateway without systemd does whose
// console the next process goes on with.
func toFile(t *testing.T, command []string) (wrapped []string, file string) {
	file = filepath.Join(t.TempDir(), "console")
	return append([]string{"sh", "-c", `exec "$0" "$@" >>` + file + " 2>&1"}, command...), file
}

// "gateway handover" starts the next process, says how far it is and returns
// when that serves, or does not.
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
	c.do("join_room", "1") // all of that was nothing to the client

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
		t.Errorf("process %d does not write where the one before did", pid)
	}
}

func exitOf(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// A reload of the service is a deploy: ExecReload of the unit starts a process
// that takes over, tells the service manager that it is the main one, and keeps
// its watchdog quiet.
func TestReloadOfTheServiceIsADeploy(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is not packaged")
	manager := newSystemd(t)
	i := install(t)
	i.Command, _ = toFile(t, withEnvironment(i.execute(t, "ExecStart="), "NOTIFY_SOCKET="+manager.path, "WATCHDOG_USEC=400000"))
	i.Launch()
	manager.await(t, "READY=1")
	c := i.dial(t, "ann", false)
	i.write("PING_INTERVAL=20s") // which a reload of the settings alone cannot apply

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
		t.Errorf("the doctor does not see the settings in effect:\n%s", doctor)
	}
}

// withEnvironment adds variables to a command that begins with env -i.
func withEnvironment(command []string, variables ...string) []string {
	return slices.Concat(command[:2], variables, command[2:])
}
