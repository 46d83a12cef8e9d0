package main

import (
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/hometrip/gateway/internal/handover/form"
)

// counts gathers the gateway's metrics. It adds the values that previous
// processes have counted to the counters, so that rates do not jump when a
// process takes another one's place. It is a prometheus.Gatherer. Safe for
// concurrent use.
type counts struct {
	registry prometheus.Gatherer

	mu     sync.Mutex // guards the following
	before map[string]float64
}

// carried reports whether a metric's value is handed over to the next process.
// Metrics of the Go runtime are of one process.
func carried(name string) bool { return strings.HasPrefix(name, "gateway_") }

// add adds what another process has counted.
func (c *counts) add(all []form.Counter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(c.before)
	if next == nil {
		next = make(map[string]float64, len(all))
	}
	for _, n := range all {
		next[n.Name] += math.Float64frombits(n.Value)
	}
	c.before = next
}

// all returns every counter, for the next process.
func (c *counts) all() (list []form.Counter) {
	families, _ := c.Gather() // those that could be had
	for _, f := range families {
		if !carried(f.GetName()) {
			continue
		}
		for _, m := range f.Metric {
			each(f.GetName(), m, func(name string, value *float64) {
				list = append(list, form.Counter{Name: name, Value: math.Float64bits(*value)})
			})
		}
	}
	return list
}

// Gather implements prometheus.Gatherer.
func (c *counts) Gather() ([]*dto.MetricFamily, error) {
	families, err := c.registry.Gather()
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before == nil {
		return families, err
	}
	for _, f := range families {
		if !carried(f.GetName()) {
			continue
		}
		for _, m := range f.Metric {
			each(f.GetName(), m, func(name string, value *float64) { *value += before[name] })
		}
	}
	return families, err
}

// each calls do with every rising value in a metric, and replaces it by the
// result.
func each(name string, m *dto.Metric, do func(name string, value *float64)) {
	var labels strings.Builder
	for _, l := range m.Label {
		labels.WriteString("," + l.GetName() + "=" + strconv.Quote(l.GetValue()))
	}
	name += "{" + strings.TrimPrefix(labels.String(), ",")
	whole := func(part string, n *uint64) {
		if n == nil {
			return
		}
		value := float64(*n)
		do(name+part, &value)
		*n = uint64(value)
	}
	switch {
	case m.Counter != nil:
		do(name+"}", m.Counter.Value)
	case m.Histogram != nil:
		whole("}count", m.Histogram.SampleCount)
		do(name+"}sum", m.Histogram.SampleSum)
		for _, b := range m.Histogram.Bucket {
			whole("}"+strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64), b.CumulativeCount)
		}
	}
}
