package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// metrics are series of /metrics, summed up over the nodes of a fleet, by name and labels.
type metrics map[string]float64

// The series that matter here.
const (
	backlog      = "tranche_journal_backlog_records"
	syncs        = `tranche_store_call_duration_seconds_count{call="SyncOffers"}`
	syncSeconds  = `tranche_store_call_duration_seconds_sum{call="SyncOffers"}`
	batches      = "tranche_batch_seconds_count"
	batchSeconds = "tranche_batch_seconds_sum"
	entries      = "tranche_batch_entries_sum"
)

// onOffers are the calls that lock an offer's row.
var onOffers = []string{"Grant", "ReturnLeases", "CloseLease", "Recall"} // read only

func succeeded(call string) string {
	return fmt.Sprintf(`tranche_store_calls_total{call=%q,outcome="ok"}`, call)
}

// transactions on offers' rows.
func (m metrics) transactions() (n int64) {
	for _, call := range onOffers {
		n += int64(m[succeeded(call)])
	}
	return n
}

// scrape asks all nodes.
func (f *fleet) scrape(ctx context.Context) (metrics, error) {
	sum := metrics{}
	for _, addr := range f.addrs {
		if err := sum.addNode(ctx, addr); err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", addr, err)
		}
	}
	return sum, nil
}

func (m metrics) addNode(ctx context.Context, addr string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return m.add(response.Body)
}

// add adds what a node says. A node that says nothing of what is looked for is a mistake, and not one that has done nothing.
func (m metrics) add(text io.Reader) error {
	found := false
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			return err
		}
		series := lines.Text()[:at]
		m[series] += value
		found = found || series == syncs
	}
	if !found {
		return fmt.Errorf("there is no %s", syncs)
	}
	return lines.Err()
}
