package faultproxy

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a proxy in front of a fake server until the test ends.
func start(t *testing.T) (*Proxy, *fakeServer) {
	t.Helper()
	server := startServer(t)
	p, err := Listen(server.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return p, server
}

func always(fault CommitFault) func(int64) CommitFault {
	return func(int64) CommitFault { return fault }
}

// wantCounts waits for the counts: a reply reaches the client a moment after, and a connection ends a moment before, it is counted.
func wantCounts(t *testing.T, p *Proxy, want Counts) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); p.Counts() != want; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("counts are %+v, want %+v", p.Counts(), want)
		}
	}
}

func TestPassesPacketsOfAnySize(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	for _, sql := range []string{"", "SELECT 1", strings.Repeat("x", 100), strings.Repeat("y", maxFrame-1), strings.Repeat("z", maxFrame+5)} {
		c.query(sql)
		server.sees(t, "\x03"+sql)
		c.hears("\x00ok")
	}
	wantCounts(t, p, Counts{})
}

func TestDeliversCommits(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	for _, sql := range []string{"COMMIT", "commit;"} {
		c.query(sql)
		server.sees(t, "\x03"+sql)
		c.hears("\x00ok")
	}
	wantCounts(t, p, Counts{Seen: 2, Done: [kinds]int64{Deliver: 2}})
}

func TestOnlyACommitIsACommit(t *testing.T) {
	p, server := start(t)
	p.OnCommit(always(CommitFault{Kind: CutBefore}))
	c := connect(t, p)
	for _, command := range []string{"\x03SELECT 'COMMIT'", "\x03COMMITTED", "\x16COMMIT", "\x03" + strings.Repeat(" ", longestLookedAt) + "COMMIT", "\x03"} {
		c.says(0, command)
		server.sees(t, command)
		c.hears("\x00ok")
	}
	c.says(1, "\x03COMMIT") // the second half of something larger
	server.sees(t, "\x03COMMIT")
	c.hears("\x00ok")
	wantCounts(t, p, Counts{})
}

func TestCutBefore(t *testing.T) {
	p, server := start(t)
	p.OnCommit(always(CommitFault{Kind: CutBefore}))
	c := connect(t, p)
	c.query("COMMIT")
	c.hearsTheEnd()
	server.seesTheEnd(t)
	server.seesNothing(t)
	wantCounts(t, p, Counts{Seen: 1, Done: [kinds]int64{CutBefore: 1}})
}

func TestCutAfter(t *testing.T) {
	p, server := start(t)
	p.OnCommit(always(CommitFault{Kind: CutAfter}))
	c := connect(t, p)
	c.query("COMMIT")
	c.hearsTheEnd()
	server.sees(t, "\x03COMMIT")
	wantCounts(t, p, Counts{Seen: 1, Done: [kinds]int64{CutAfter: 1}})
}

func TestCutEarlyCommitsAfterTheClientHasGivenUp(t *testing.T) {
	p, server := start(t)
	p.OnCommit(always(CommitFault{Kind: CutEarly, After: 300 * time.Millisecond}))
	c := connect(t, p)
	c.query("COMMIT")
	c.hearsTheEnd()
	server.seesNothing(t)
	server.sees(t, "\x03COMMIT")
	server.seesTheEnd(t)
	wantCounts(t, p, Counts{Seen: 1, Done: [kinds]int64{CutEarly: 1}})
}

func TestStrandKeepsTheServerWaiting(t *testing.T) {
	p, server := start(t)
	p.OnCommit(always(CommitFault{Kind: Strand}))
	c := connect(t, p)
	c.query("COMMIT")
	wantCounts(t, p, Counts{Seen: 1, Done: [kinds]int64{Strand: 1}})
	c.Close()

	other := connect(t, p) // a full exchange later the server still has not heard of the end
	other.query("SELECT 1")
	other.hears("\x00ok")
	server.sees(t, "\x03SELECT 1")
	select {
	case <-server.ended:
		t.Fatal("the server noticed that its client has gone")
	default:
	}
}

func TestARefusedCommitIsNotCountedAsDone(t *testing.T) {
	p, server := start(t)
	server.refuses.Store(true)
	c := connect(t, p)
	c.query("COMMIT")
	server.sees(t, "\x03COMMIT")
	c.hears("\xffno")
	p.OnCommit(always(CommitFault{Kind: CutAfter}))
	c.query("COMMIT")
	c.hearsTheEnd()
	wantCounts(t, p, Counts{Seen: 2, Refused: 2})
}

func TestDecidesByNumber(t *testing.T) {
	p, server := start(t)
	p.OnCommit(func(n int64) CommitFault {
		if n == 2 {
			return CommitFault{Kind: CutBefore}
		}
		return CommitFault{}
	})
	c := connect(t, p)
	c.query("COMMIT")
	server.sees(t, "\x03COMMIT")
	c.hears("\x00ok")
	c.query("COMMIT")
	c.hearsTheEnd()
	c = connect(t, p)
	c.query("COMMIT")
	server.sees(t, "\x03COMMIT")
	c.hears("\x00ok")
}

func TestRefuse(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	p.SetWeather(Refuse)
	c.hearsTheEnd()
	server.seesTheEnd(t)
	if conn, err := net.Dial("tcp", p.Addr()); err == nil { // else the reset came while it was still dialling
		talk(t, conn).hearsTheEnd()
	}
	p.SetWeather(Pass)
	connect(t, p).query("SELECT 1")
	server.sees(t, "\x03SELECT 1")
}

func TestBlackholeHoldsBackAndDeliversLate(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	p.SetWeather(Blackhole)
	c.query("SELECT 1")
	early := dial(t, p)
	if err := early.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := early.Read(make([]byte, 1)); !isTimeout(err) {
		t.Fatalf("a new connection got %v instead of silence", err)
	}
	server.seesNothing(t)
	p.SetWeather(Pass)
	server.sees(t, "\x03SELECT 1")
	c.hears("\x00ok")
}

func TestLatency(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	p.SetLatency(50 * time.Millisecond)
	before := time.Now()
	c.query("SELECT 1")
	server.sees(t, "\x03SELECT 1")
	if took := time.Since(before); took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestCutAll(t *testing.T) {
	p, server := start(t)
	c := connect(t, p)
	p.CutAll()
	c.hearsTheEnd()
	server.seesTheEnd(t)
	connect(t, p)
}
