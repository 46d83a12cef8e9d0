package handover

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var probeAt time.Time
var probeCPU time.Duration

func cpu() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func Probe(what string) {
	f, err := os.OpenFile("/tmp/ho-probe", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	now, c := time.Now(), cpu()
	if !probeAt.IsZero() {
		fmt.Fprintf(f, "%s pid %d %-12s wall %7.2f cpu %7.2f\n", now.Format("05.000000"), os.Getpid(), what, float64(now.Sub(probeAt).Microseconds())/1e3, float64((c-probeCPU).Microseconds())/1e3)
	}
	probeAt, probeCPU = time.Now(), cpu()
}
