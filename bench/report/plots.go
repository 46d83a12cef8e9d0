package report

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	plotWidth  = 18 * vg.Centimeter
	plotHeight = 10 * vg.Centimeter
)

// plotted is a plot that has been written.
type plotted struct{ title, file string }

// figure is one plot to be: how to get each peer's points.
type figure struct {
	plotted
	x, y       string
	logX, logY bool
	names      []string // of the x values, if they are not numbers
	points     func(r *Results, peer string) plotter.XYs
}

var figures = []figure{
	{
		plotted: plotted{"Resident memory against connections", "memory"},
		x:       "connections", y: "MiB resident",
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("memory", peer, "rss_mib", strconv.Atoi)
		},
	},
	{
		plotted: plotted{"CPU per delivery against room size", "fanout"},
		x:       "members (log)", y: "µs per delivery", logX: true,
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("fanout", peer, "cpu_us", after("single/"))
		},
	},
	{
		plotted: plotted{"CPU per delivery: what coalescing gains (1,000 members)", "burst"},
		x:       "", y: "µs per delivery (log)", logY: true,
		names: []string{"single", "paced", "burst of 32", "join storm", "typing burst"},
		points: func(r *Results, peer string) plotter.XYs {
			return r.picked(peer, "cpu_us", []place{
				{"fanout", "single/1000"}, {"fanout", "paced/1000"}, {"fanout", "burst/1000"},
				{"storm", "join"}, {"storm", "typing burst"},
			})
		},
	},
	{
		plotted: plotted{"Chat at half of saturation: latency percentiles", "latency"},
		x:       "", y: "µs (log)", logY: true,
		names: []string{"p50", "p99", "p99.9", "max"},
		points: func(r *Results, peer string) plotter.XYs {
			var xys plotter.XYs
			for i, value := range []string{"p50_us", "p99_us", "p999_us", "max_us"} {
				if s := r.Stat("chat", "half", peer, value); s.Runs > 0 {
					xys = append(xys, plotter.XY{X: float64(i), Y: s.Median})
				}
			}
			return xys
		},
	},
	{
		plotted: plotted{"CPU per chat event against nodes, summed over them", "nodes"},
		x:       "nodes", y: "µs per event",
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("nodes", peer, "cpu_us", strconv.Atoi)
		},
	},
	{
		plotted: plotted{"A million connections: resident memory of all gateways", "million-memory"},
		x:       "connections", y: "MiB",
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("million-real", peer, "rss_mib", after("connect "))
		},
	},
	{
		plotted: plotted{"A million connections: CPU of one of the next 72,000", "million-connect"},
		x:       "connections", y: "µs",
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("million-real", peer, "cpu_us", after("connect "))
		},
	},
	{
		plotted: plotted{"Hand-over: pause against connections", "handover"},
		x:       "connections", y: "ms",
		points: func(r *Results, peer string) plotter.XYs {
			return r.points("handover", peer, "pause_ms", strconv.Atoi)
		},
	},
}

func after(prefix string) func(string) (int, error) {
	return func(kase string) (int, error) {
		rest, ok := strings.CutPrefix(kase, prefix)
		if !ok {
			return 0, fmt.Errorf("case %q: want %s…", kase, prefix)
		}
		return strconv.Atoi(rest)
	}
}

// points takes x out of the case's name; cases without are left out.
func (r *Results) points(scenario, peer, value string, x func(string) (int, error)) plotter.XYs {
	var xys plotter.XYs
	for _, kase := range r.Cases(scenario) {
		at, err := x(kase)
		if s := r.Stat(scenario, kase, peer, value); err == nil && s.Runs > 0 {
			xys = append(xys, plotter.XY{X: float64(at), Y: s.Median})
		}
	}
	slices.SortFunc(xys, func(a, b plotter.XY) int { return int(a.X - b.X) })
	return xys
}

// A place is one scenario with one of its cases.
type place struct{ scenario, kase string }

func (r *Results) picked(peer, value string, places []place) plotter.XYs {
	var xys plotter.XYs
	for i, p := range places {
		if s := r.Stat(p.scenario, p.kase, peer, value); s.Runs > 0 {
			xys = append(xys, plotter.XY{X: float64(i), Y: s.Median})
		}
	}
	return xys
}

func drawAll(r *Results, dir string) ([]plotted, error) {
	var done []plotted
	for i := range figures {
		drawn, err := drawOne(r, &figures[i], dir)
		if err != nil {
			return nil, fmt.Errorf("plot %s: %w", figures[i].file, err)
		}
		if drawn {
			done = append(done, figures[i].plotted)
		}
	}
	return done, nil
}

func drawOne(r *Results, f *figure, dir string) (bool, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = f.title, f.x, f.y
	p.Legend.Top, p.Legend.Left = true, true
	p.Title.Padding = vg.Millimeter * 3
	p.BackgroundColor = color.White
	p.Add(plotter.NewGrid())
	any, least := false, math.Inf(1)
	for i, peer := range peerNames(r) {
		xys := f.points(r, peer)
		if len(xys) == 0 {
			continue
		}
		any = true
		for _, xy := range xys {
			least = min(least, xy.Y)
		}
		line, dots, err := plotter.NewLinePoints(xys)
		if err != nil {
			return false, err
		}
		style(line, dots, peer, i)
		p.Add(line, dots)
		p.Legend.Add(peer, line, dots)
	}
	if !any {
		return false, nil
	}
	scale(p, f, least)
	for _, ext := range []string{".svg", ".png"} {
		if err := p.Save(plotWidth, plotHeight, filepath.Join(dir, f.file+ext)); err != nil {
			return false, err
		}
	}
	return true, nil
}

func scale(p *plot.Plot, f *figure, least float64) {
	if f.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if f.logY {
		p.Y.Min = least / 2
		p.Y.Max *= 4 // room for the legend
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	} else {
		p.Y.Min = 0
		p.Y.Max *= 1.35
	}
	if f.names != nil {
		p.NominalX(f.names...)
		p.X.Min, p.X.Max = -0.3, float64(len(f.names))-0.7
	}
}

// The gateway is drawn boldest; the floors are grey, because they are limits
// and not competitors.
var colours = []color.RGBA{
	{0xd5, 0x5e, 0x00, 255}, {0x00, 0x72, 0xb2, 255}, {0xcc, 0x79, 0xa7, 255},
	{0x00, 0x9e, 0x73, 255}, {0xe6, 0x9f, 0x00, 255}, {0x56, 0xb4, 0xe9, 255},
}

func style(line *plotter.Line, dots *plotter.Scatter, peer string, i int) {
	line.Color, line.Width = colours[i%len(colours)], vg.Points(1.5)
	switch peer {
	case Floor:
		line.Color = color.Gray{0x60}
		line.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
	case FloorBatch:
		line.Color = color.Gray{0xa0}
		line.Dashes = []vg.Length{vg.Points(2), vg.Points(2)}
	case "gateway":
		line.Color, line.Width = color.Black, vg.Points(3)
	}
	dots.Shape, dots.Color, dots.Radius = draw.CircleGlyph{}, line.Color, vg.Points(2.5)
}
