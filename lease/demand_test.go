package lease

import (
	"math"
	"testing"
	"time"
)

// measureEach measures every interval while rate units a second are spent.
func (d *demand) measureEach(now *time.Time, spent *float64, interval, total time.Duration, rate float64) {
	for range int(total / interval) {
		*now = now.Add(interval)
		*spent += rate * interval.Seconds()
		d.measure(*now, int64(*spent))
	}
}

func TestTheRateIsThatOfTheLastSeconds(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) < want/10 }
	for _, interval := range []time.Duration{10 * time.Millisecond, time.Second, 5 * time.Second} {
		var d demand
		now, spent := time.Unix(0, 0), 0.0
		d.measure(now, 0)
		d.measureEach(&now, &spent, interval, time.Minute, 1000)
		if !near(d.rate, 1000) {
			t.Errorf("measured every %s: %.0f of 1000 a second", interval, d.rate)
		}
		d.measureEach(&now, &spent, interval, horizon, 0)
		if !near(d.rate, 1000/math.E) {
			t.Errorf("measured every %s: %.0f after a pause of the horizon", interval, d.rate)
		}
	}
}

// A look right after another sees a burst or nothing. It must not count as much as the seconds before it.
func TestAShortLookCountsLittle(t *testing.T) {
	var d demand
	now, spent := time.Unix(0, 0), 0.0
	d.measure(now, 0)
	d.measureEach(&now, &spent, time.Second, time.Minute, 100)
	for _, burst := range []int64{0, 10} {
		before := d.rate
		now = now.Add(time.Millisecond)
		spent += float64(burst)
		d.measure(now, int64(spent))
		if math.Abs(d.rate-before) > 2 {
			t.Errorf("%d units in a millisecond moved the rate from %.1f to %.1f", burst, before, d.rate)
		}
	}
}

// The rest of a block that is given back was not spent.
func TestWhatIsReturnedIsNotDemand(t *testing.T) {
	withoutLoops(t, testOffer(100_000, 1000), func(t *testing.T, b *keeperOnFake) {
		ol := b.keeper.leasesOf("o")
		for range 5 { // each time a block of 1000, of which one unit is spent
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			ol.sealAll()
			if err := ol.closeQuiet(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if ol.demand.rate > 10 || ol.spent() != 5 {
			t.Errorf("%d units were spent; the rate is %.0f a second", ol.spent(), ol.demand.rate)
		}
	})
}
