package main

import (
	"slices"
	"strings"
	"testing"

	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/contract"
	"tranche/loadtest/rivals/growth/fill"
)

func TestAxesAreTakenAsTheyAreWanted(t *testing.T) {
	s := settings{Offers: []int64{1, 10}, Nodes: []int64{1, 200}, Only: []string{report.Nodes, report.Offers}}
	axes, err := s.axes()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range axes {
		names = append(names, a.name)
	}
	if !slices.Equal(names, []string{report.Offers, report.Nodes}) {
		t.Errorf("%v", names)
	}
	if n, one := axes[1].most(), axes[0].most(); n != 200 || one != 1 {
		t.Errorf("the largest fleets have %d and %d nodes", n, one)
	}
	for _, bad := range []settings{{Only: []string{"rivals"}}, {Users: []int64{10, 1}}, {Leases: []int64{0}}, {Ledger: []int64{1500}}} {
		if _, err := bad.axes(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestMetricsAreSummedUpOverNodes(t *testing.T) {
	sum := metrics{}
	for range 2 {
		err := sum.add(strings.NewReader(`# HELP tranche_store_calls_total Calls to the ledger by what came of them.
tranche_store_calls_total{call="Grant",outcome="ok"} 3
tranche_store_calls_total{call="Grant",outcome="busy"} 100
tranche_store_calls_total{call="ReturnLeases",outcome="ok"} 2
tranche_store_calls_total{call="Settle",outcome="ok"} 1000
tranche_store_call_duration_seconds_sum{call="SyncOffers"} 0.25
tranche_store_call_duration_seconds_count{call="SyncOffers"} 1e+02
tranche_journal_backlog_records 7
`))
		if err != nil {
			t.Fatal(err)
		}
	}
	if sum.transactions() != 10 || sum[syncs] != 200 || sum[syncSeconds] != 0.5 || sum[backlog] != 14 {
		t.Errorf("%v", sum)
	}
	if err := sum.add(strings.NewReader("go_goroutines 7\n")); err == nil {
		t.Error("a page of something else was taken")
	}
	if err := sum.add(strings.NewReader("go_goroutines many\n")); err == nil {
		t.Error("what is no number was taken")
	}
}

// The places of hot offers are spread over all of them, and none is asked for twice.
func TestHotOffersAreSpread(t *testing.T) {
	for size, want := range map[int64]int{1: 1, 7: 7, 100: 100, 10_000: 100} {
		asked := hottest(size)
		if len(slices.Compact(slices.Sorted(slices.Values(asked)))) != want {
			t.Errorf("of %d: %v", size, asked)
		}
	}
}

func TestThereIsARequestForEachKindOfRead(t *testing.T) {
	if n := len(readers(1000)); n != len(report.ReadNames) {
		t.Errorf("%d requests for %d names", n, len(report.ReadNames))
	}
	id := contract.RedemptionID(hot, contract.HashOf(hot, ledger.Key(7)))
	if path := readers(1000)[0](7); path != "/v1/redemptions/"+id {
		t.Error(path)
	}
	if user := ledger.User(7, 1000); user < fill.User(0) || user > fill.User(333) {
		t.Error(user)
	}
}
