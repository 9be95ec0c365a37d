// Package node puts a node together and runs it from start to drain.
//
// # Start
//
//	lock the data directory ─▶ listen ─▶ tables ─▶ next epoch ─▶ return the leases of earlier epochs ─▶ read the offers ─▶ ready
//
// The node listens before the database has answered, so that /healthz and /readyz tell what it waits for; it keeps trying until
// the database comes. Until then every other call is answered ledger-unavailable.
//
// # Drain
//
//	not ready ─▶ wait, still serving ─▶ stop taking requests ─▶ settle ─▶ return all leases ─▶ stop the loops ─▶ close
//
// It is the start in reverse. With the database away it gives up after a bounded time; the reapers of other nodes, or this one's
// next start, take the leases back.
//
// # Identity
//
// A node whose identity was taken by a newer process (a copied data directory) stops serving as soon as it hears of it. Until then
// the database refuses it grants and renewals, and the fence everything else.
package node
