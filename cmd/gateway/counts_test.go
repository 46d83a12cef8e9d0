package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Counters and histograms of the gateway continue in the next process. Gauges, and the
// metrics of the Go runtime, do not.
func TestCountersContinueInTheNextProcess(t *testing.T) {
	process := func() (*counts, *prometheus.CounterVec, prometheus.Histogram, prometheus.Gauge, prometheus.Counter) {
		r := prometheus.NewRegistry()
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_x_total"}, []string{"of"})
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gateway_y", Buckets: []float64{1, 2}})
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_z"})
		other := prometheus.NewCounter(prometheus.CounterOpts{Name: "go_x_total"})
		r.MustRegister(c, h, g, other)
		return &counts{registry: r}, c, h, g, other
	}
	first, c, h, g, other := process()
	c.WithLabelValues("a").Add(3)
	c.WithLabelValues("b").Add(5)
	h.Observe(1.5)
	g.Set(7)
	other.Add(9)
	second, c, h, _, _ := process()
	second.add(first.all())
	c.WithLabelValues("a").Add(1)
	c.WithLabelValues("b")
	h.Observe(0.5)
	third, c, _, _, _ := process()
	third.add(second.all())
	c.WithLabelValues("a")
	c.WithLabelValues("b")

	got := make(map[string]float64)
	families, err := third.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += l.GetValue()
			}
			each(name, m, func(name string, value *float64) { got[name] = *value })
			if m.Gauge != nil {
				got[name] = m.Gauge.GetValue()
			}
		}
	}
	want := map[string]float64{
		`gateway_x_totala{of="a"}`: 4, `gateway_x_totalb{of="b"}`: 5, "gateway_y{}count": 2, "gateway_y{}sum": 2,
		"gateway_y{}1": 1, "gateway_y{}2": 2, "gateway_z": 0, "go_x_total{}": 0,
	}
	for name, value := range want {
		if n, known := got[name]; !known || n != value {
			t.Errorf("%s is %v, want %v", name, n, value)
		}
	}
}
