package systemtest

import (
	"context"
	"testing"

	"tranche/internal/faultproxy"
)

// proxy puts a fault proxy in front of the fleet's database, and gives the DSN that leads through it.
func (f *fleet) proxy() (p *faultproxy.Proxy, dsn string) {
	f.t.Helper()
	p, err := faultproxy.Listen(f.upstream())
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	stopped := make(chan error, 1)
	go func() { stopped <- p.Run(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			f.t.Error(err)
		}
	})
	return p, f.dsnVia(p.Addr())
}

// proxiedFleet starts n nodes that reach the database through one proxy.
func proxiedFleet(t *testing.T, n int, flags ...string) (*fleet, *faultproxy.Proxy) {
	t.Helper()
	f := newFleet(t)
	p, dsn := f.proxy()
	for range n {
		f.add(dsn, flags...)
	}
	f.awaitReady()
	return f, p
}

// halfProxiedFleet starts two nodes, the first behind a proxy.
func halfProxiedFleet(t *testing.T, flags ...string) (*fleet, *faultproxy.Proxy) {
	t.Helper()
	f := newFleet(t)
	p, dsn := f.proxy()
	f.add(dsn, flags...)
	f.add(f.dsn, flags...)
	f.awaitReady()
	return f, p
}
