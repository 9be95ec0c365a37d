package systemtest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// TestALockedDatabaseTakesNobodyItsLeases: locked as for a backup, the database answers all questions and takes no writes, for longer than
// leases live. Their owners can't renew them meanwhile, and have them renewed afterwards, before anybody takes them for dead; and a hold that
// has ended can be confirmed.
func TestALockedDatabaseTakesNobodyItsLeases(t *testing.T) {
	t.Parallel()
	const offers, ttl, locked = 6, 20 * time.Second, 48 * time.Second
	f := startFleet(t, 2)
	for i := range offers {
		id := f.createWith("fast", offer{ID: fmt.Sprintf("locked-%d", i), Budget: 1000, LeaseSize: 100, LeaseTTLSeconds: int64(ttl.Seconds())})
		for _, n := range f.nodes {
			decode[struct{}](t, n.redeem(id, n.name, n.name, 1), http.StatusCreated)
		}
	}
	held := decode[redemption](t, f.nodes[0].hold("locked-0", "held", "h", 1, 15), http.StatusCreated).ID
	lease := func(ctx context.Context, where string) (count int) {
		t.Helper()
		if err := f.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM leases WHERE "+where).Scan(&count); err != nil {
			t.Fatal(err)
		}
		return count
	}
	f.awaitSettled(5*time.Second, 0)
	backup, err := f.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	if _, err := backup.ExecContext(t.Context(), "LOCK TABLES leases READ, nodes READ"); err != nil {
		t.Fatal(err)
	}
	pause(t, locked)
	past := "state = 'active' AND expires_at < 1000000 * (UNIX_TIMESTAMP() - 5)"
	if n := lease(t.Context(), past); n != offers*len(f.nodes) {
		t.Errorf("%d leases are past their grace, want all: this test shows nothing", n)
	}
	for _, n := range f.nodes {
		if err := n.readyWithoutLedger(t.Context()); err != nil {
			t.Error(err)
		}
		if log, err := os.ReadFile(n.output()); err != nil || bytes.Contains(log, []byte("lease not reclaimed")) {
			t.Errorf("%s has tried to reclaim leases that could not be renewed (%v)", n.name, err)
		}
	}
	if _, err := backup.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 4*time.Second, func(context.Context) error {
		if a := f.nodes[0].resolve(held, "confirm"); a.status != http.StatusOK {
			return fmt.Errorf("confirm: %s", a)
		}
		return nil
	})
	eventually(t, 10*time.Second, func(ctx context.Context) error {
		if n := lease(ctx, past); n != 0 {
			return fmt.Errorf("%d leases are not renewed", n)
		}
		return nil
	})
	if n := lease(t.Context(), "state = 'reclaimed'"); n != 0 {
		t.Errorf("%d leases of owners that live were reclaimed", n)
	}
	for _, n := range f.nodes {
		n.awaitReady()
		decode[struct{}](t, n.redeem("locked-0", n.name+"-again", n.name, 1), http.StatusCreated)
	}
}
