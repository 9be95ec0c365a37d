package report

import (
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

const (
	panelHeight = 7 * vg.Centimeter
	legendAt    = 14.5 * vg.Centimeter // from the y axis
)

// plot draws the panels of an axis one below the other, over the same sizes.
func (g *Growth) plot(a *axis, path string) error {
	var plots []*plot.Plot
	for i := range a.panels {
		p, err := g.panel(a, &a.panels[i])
		if err != nil {
			return err
		}
		plots = append(plots, p)
	}
	plots[0].Title.Text = a.title
	plots[len(plots)-1].X.Label.Text = a.size
	return stack(plots, panelHeight, path)
}

func (g *Growth) panel(a *axis, its *panel) (*plot.Plot, error) {
	p := newPlot("", "", its.unit)
	p.Legend.Left, p.Legend.XOffs = true, legendAt // its texts are as wide as the reader's font makes them: to the right there is room for them
	over(p, g.sizes(a.name))
	for i := range its.lines {
		if err := g.line(p, a, its, i); err != nil {
			return nil, err
		}
	}
	upwards(p, its.logarithmic)
	return p, nil
}

// over gives the x axis a logarithmic scale with a tick at each size, and room for the legend beyond the last.
func over(p *plot.Plot, sizes []int64) {
	var ticks plot.ConstantTicks
	for _, s := range sizes {
		ticks = append(ticks, plot.Tick{Value: float64(s), Label: count(float64(s))})
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks
	p.Add(plotter.NewGrid())
	first, last := float64(sizes[0]), float64(sizes[len(sizes)-1])
	p.X.Min, p.X.Max = first, last*math.Pow(max(2, last/first), 0.4)
}

// line draws one figure. What was not measured is left out, and on a logarithmic scale what is zero.
func (g *Growth) line(p *plot.Plot, a *axis, its *panel, number int) error {
	l := &its.lines[number]
	var points plotter.XYs
	for _, size := range g.sizes(a.name) {
		v, ok := g.at(a.name, l, size)
		if ok && !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || !its.logarithmic) {
			points = append(points, plotter.XY{X: float64(size), Y: v})
		}
	}
	if len(points) == 0 {
		return nil
	}
	drawn, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	drawn.Color, drawn.Width = plotutil.Color(number), vg.Points(1.5)
	marks.Color, marks.Shape = drawn.Color, plotutil.Shape(number)
	p.Add(drawn, marks)
	p.Legend.Add(l.name, drawn, marks)
	return nil
}

// upwards sets the y axis. A linear one begins at zero: a cost that stays the same must look as if it did.
func upwards(p *plot.Plot, isLogarithmic bool) {
	switch {
	case p.Y.Max < p.Y.Min || math.IsInf(p.Y.Max, 0): // nothing was drawn
		p.Y.Min, p.Y.Max = 0, 1
	case isLogarithmic:
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		low, high := math.Floor(math.Log10(p.Y.Min)), math.Ceil(math.Log10(p.Y.Max))
		p.Y.Min, p.Y.Max = math.Pow(10, low), math.Pow(10, max(high, low+1))
	default:
		p.Y.Min, p.Y.Max = 0, max(1.1*p.Y.Max, 1e-3)
	}
}
