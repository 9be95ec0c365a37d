package models_test

import (
	"testing"

	"tranche/models"
)

// Entries of versions that noted no time of booking, or were dated by a clock that was ahead, are booked when they were created.
func TestB12NothingIsBookedBeforeItIsCreated(t *testing.T) {
	early, late := models.Micros(90), models.Micros(110)
	for _, c := range []struct {
		bookedAt *models.Micros
		want     models.Micros
	}{{nil, 100}, {&early, 100}, {&late, 110}} {
		if e := (models.Entry{CreatedAt: 100, BookedAt: c.bookedAt}); e.Booked() != c.want {
			t.Errorf("booked at %d, want %d", e.Booked(), c.want)
		}
	}
}
