package main

import (
	"context"
	"fmt"
	"slices"

	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/growth/fill"
)

// axis is one of the things that grow.
type axis struct {
	name  string // as the report calls it
	sizes []int64
	nodes func(size int64) int64 // in the fleet
	disk  string                 // folder for the fleet's own; empty: where temporary files are

	// prepare makes the books of the next size from those of the one before, through a fleet that is not measured. nil: nothing to do.
	prepare func(ctx context.Context, b *books, before, size int64) error

	// measure takes the measurements on a fleet that has just been started.
	measure func(ctx context.Context, g *growth, f *fleet, size int64) ([]report.Step, error)
}

// memory is where many nodes have their journals, on Linux. Each node of a real fleet has a disk of its own; on one disk they would wait for
// each other, and for the database.
const memory = "/dev/shm"

// axes are those that are wanted.
func (s *settings) axes() ([]axis, error) {
	one := func(int64) int64 { return 1 }
	all := []axis{
		{report.Offers, s.Offers, one, "", moreOffers, redeemManyOffers},
		{report.Users, s.Users, one, "", moreUsers, redeemAsManyUsers},
		{report.Ledger, s.Ledger, one, "", moreEntries, redeemAndRead},
		{report.Nodes, s.Nodes, func(size int64) int64 { return size }, memory, oneOffer, redeemOnAllNodes},
		{report.Leases, s.Leases, one, "", nil, redeemByLeaseSize},
	}
	for _, name := range s.Only {
		if !slices.ContainsFunc(all, func(a axis) bool { return a.name == name }) {
			return nil, fmt.Errorf("there is no axis %q", name)
		}
	}
	for _, a := range all {
		if !rising(a.sizes) {
			return nil, fmt.Errorf("%s: %v: want sizes above zero, from few to many", a.name, a.sizes)
		}
	}
	if slices.ContainsFunc(s.Ledger, func(size int64) bool { return size%fill.PerLease != 0 }) {
		return nil, fmt.Errorf("ledger: %v: want whole leases of %d entries", s.Ledger, fill.PerLease)
	}
	return slices.DeleteFunc(all, func(a axis) bool { return len(s.Only) > 0 && !slices.Contains(s.Only, a.name) }), nil
}

func rising(sizes []int64) bool {
	last := int64(0)
	for _, size := range sizes {
		if size <= last {
			return false
		}
		last = size
	}
	return true
}

// most is the largest fleet of the axis.
func (a *axis) most() (nodes int64) {
	for _, size := range a.sizes {
		nodes = max(nodes, a.nodes(size))
	}
	return nodes
}
