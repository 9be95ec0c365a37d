package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"tranche/loadtest/rivals/bench/stats"
)

const (
	plotWidth, plotHeight, plotMargin = 25 * vg.Centimeter, 13 * vg.Centimeter, 4 * vg.Millimeter
	barWidth                          = 1 * vg.Centimeter
)

// plot draws everything that was measured.
func (r *Results) plot(dir string) error {
	var errs []error
	if len(r.Closed) > 0 {
		errs = append(errs, r.plotThroughput(filepath.Join(dir, "throughput.svg")), r.plotCPU(filepath.Join(dir, "cpu.svg")))
	}
	for _, rate := range r.rates() {
		errs = append(errs, r.plotLatency(filepath.Join(dir, fmt.Sprintf("latency-%d.svg", rate)), rate))
	}
	return errors.Join(errs...)
}

// newPlot has its texts without serifs, and its legend at the top right.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = 3 * vg.Millimeter
	p.Legend.Top, p.Legend.Padding = true, vg.Millimeter
	p.Legend.Left, p.Legend.XOffs = true, 19*vg.Centimeter // its texts are as wide as the reader's font makes them
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant = "Sans"
	}
	p.Legend.TextStyle.Font.Size = p.X.Tick.Label.Font.Size
	return p
}

// save draws a plot with a margin, on white.
func save(p *plot.Plot, path string) error { return stack([]*plot.Plot{p}, plotHeight, path) }

// stack draws plots one below the other, each of this height with its margin, on white. Their x axes are of one length.
func stack(plots []*plot.Plot, height vg.Length, path string) error {
	svg := vgsvg.New(plotWidth, height*vg.Length(len(plots)))
	canvas := draw.New(svg)
	canvas.SetColor(color.White)
	canvas.Fill(canvas.Rectangle.Path())
	var column [][]*plot.Plot
	for _, p := range plots {
		column = append(column, []*plot.Plot{p})
	}
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadTop: plotMargin, PadBottom: plotMargin, PadLeft: plotMargin, PadRight: plotMargin, PadY: 2 * plotMargin}
	for i, row := range plot.Align(column, tiles, canvas) {
		plots[i].Draw(row[0])
	}
	var out bytes.Buffer
	if _, err := svg.WriteTo(&out); err != nil {
		return err
	}
	// The library names one font. Where it is missing, a browser must not take one with serifs, which is wider.
	text := bytes.ReplaceAll(out.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,sans-serif"))
	return os.WriteFile(path, text, 0o644)
}

// band is a line with a spread at each of its points.
type band struct {
	plotter.XYs
	plotter.YErrors
}

// line draws a contestant's summaries over the positions 0, 1, …; those that are missing are left out. Each contestant keeps its colour
// and its dashes over all plots.
func (r *Results) line(p *plot.Plot, contestant int, summaries []stats.Summary) error {
	var b band
	for x, s := range summaries {
		if math.IsNaN(s.Median) || s.Min <= 0 {
			continue
		}
		b.XYs = append(b.XYs, plotter.XY{X: float64(x), Y: s.Median})
		b.YErrors = append(b.YErrors, struct{ Low, High float64 }{s.Median - s.Min, s.Max - s.Median})
	}
	if len(b.XYs) == 0 {
		return nil
	}
	line, points, err := plotter.NewLinePoints(b.XYs)
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(b)
	if err != nil {
		return err
	}
	line.Color, line.Dashes, line.Width = plotutil.Color(contestant), plotutil.Dashes(contestant/len(plotutil.DefaultColors)), vg.Points(1.5)
	points.Color, points.Shape = line.Color, plotutil.Shape(contestant)
	bars.Color = line.Color
	p.Add(line, points, bars)
	p.Legend.Add(r.Contestants[contestant], line, points)
	return nil
}

// logarithmic gives the y axis a logarithmic scale.
func logarithmic(p *plot.Plot) {
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
}

// plotThroughput has a group of bars for each contestant, with one bar for each number of connections.
func (r *Results) plotThroughput(path string) error {
	p := newPlot("Throughput", "", "redemptions per second")
	connections := r.connections()
	width := 1.6 * vg.Centimeter / vg.Length(len(connections))
	for i, n := range connections {
		var rates plotter.Values
		for _, c := range r.Contestants {
			rate := r.closed(c, n, (*Closed).Rate).Median
			if math.IsNaN(rate) {
				rate = 0
			}
			rates = append(rates, rate)
		}
		bars, err := plotter.NewBarChart(rates, width)
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = plotutil.Color(i), 0
		bars.Offset = width * (vg.Length(i) - vg.Length(len(connections)-1)/2)
		p.Add(bars)
		p.Legend.Add(count(float64(n))+" connections", bars)
	}
	categories(p, r.Contestants)
	return save(p, path)
}

// wholeTicks labels ticks with whole numbers.
type wholeTicks struct{}

// Ticks implements plot.Ticker.
func (wholeTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = count(ticks[i].Value)
		}
	}
	return ticks
}

// categories labels groups of bars at the positions 0, 1, …, and draws horizontal lines to read the bars by.
func categories(p *plot.Plot, names []string) {
	p.Y.Tick.Marker = wholeTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
}

// nominal labels the positions 0, 1, … of an axis, and leaves room for the legend beyond the last.
func nominal(p *plot.Plot, names []string) {
	p.NominalX(names...)
	p.X.Max = max(1, 1.3*float64(len(names)-1))
}

func labels[T any](values []T) (texts []string) {
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	return texts
}

func (r *Results) plotLatency(path string, rate int) error {
	p := newPlot(fmt.Sprintf("Latency at %d per second", rate), "percentile", "milliseconds since due")
	logarithmic(p)
	drawn := false
	for i, c := range r.Contestants {
		var summaries []stats.Summary
		for q := range Percents {
			summaries = append(summaries, stats.Summarize(overRounds(r.Open,
				func(o *Open) bool { return o.Contestant == c && o.PerSecond == rate && len(o.Quantiles) > 0 },
				func(o *Open) float64 { return o.Quantiles[q] })))
		}
		drawn = drawn || !math.IsNaN(summaries[0].Median)
		if err := r.line(p, i, summaries); err != nil {
			return err
		}
	}
	if !drawn {
		return nil
	}
	nominal(p, labels(Percents))
	return save(p, path)
}

// plotCPU stacks the databases' share on the server's.
func (r *Results) plotCPU(path string) error {
	const connections = 64
	var server, databases plotter.Values
	var names []string
	for _, c := range r.Contestants {
		per := func(of func(*Closed) float64) float64 {
			return r.closed(c, connections, func(c *Closed) float64 { return 1e6 * of(c) / float64(c.Acknowledged) }).Median
		}
		s := per(func(c *Closed) float64 { return c.ServerCPU })
		if math.IsNaN(s) {
			continue
		}
		names = append(names, c)
		server = append(server, s)
		databases = append(databases, per(func(c *Closed) float64 { return c.DatabaseCPU }))
	}
	if len(names) == 0 {
		return nil
	}
	p := newPlot("CPU time per redemption", "", "microseconds")
	below, err := plotter.NewBarChart(server, barWidth)
	if err != nil {
		return err
	}
	above, err := plotter.NewBarChart(databases, barWidth)
	if err != nil {
		return err
	}
	below.Color, above.Color = plotutil.Color(2), plotutil.Color(0)
	below.LineStyle.Width, above.LineStyle.Width = 0, 0
	above.StackOn(below)
	p.Add(below, above)
	p.Legend.Add("server", below)
	p.Legend.Add("databases", above)
	p.Legend.XOffs = 0 // the first bars are the shortest
	categories(p, names)
	return save(p, path)
}
