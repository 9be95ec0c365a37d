// Package node puts a node together and runs it from start to drain.
//
// # Start
//
//	lock the data directory ─▶ open the journal ─▶ listen ─▶ tables ─▶ the ledger's id ─▶ settle the journal
//	     ─▶ next epoch ─▶ close the leases of earlier epochs ─▶ read the offers ─▶ ready
//
// The node listens before the database has answered, so that /healthz and /readyz tell what it waits for; it keeps trying until
// the database comes. Until then every other call is answered ledger-unavailable.
//
// There is no recovery beside this. Redemptions that an earlier process acknowledged and did not settle are settled like any others;
// those that had been settled are recognised. Settling comes before the epoch, for it needs none. It comes before the leases are
// closed, so that units spent from a lease are booked on it while it is open. The rest of a lease stays exposed until its end, for a process
// on a copy of the data directory may spend it.
//
// A journal that is damaged keeps the node from starting: it would serve on, and not know what it owes. A database with another ledger id
// than the data directory remembers ends the node: the journal is not for it. Records of an offer that the database does not have stay in
// the journal.
//
// [SettleJournal] does all this for a node that will not start again, up to the closing of its leases.
//
// # A ledger that has lost commits
//
// A node that notices it (a lease is not as it was left, an offer's numbers went back) goes on with what the ledger says. It reads its
// journal, and books what the ledger does not have: see bookAgain.
//
// # Drain
//
//	not ready, stop sweeping ─▶ wait, still serving ─▶ stop taking requests, let handlers end ─▶ return the leases, once settled
//	     ─▶ stop the settler ─▶ stop the loops ─▶ close the journal, and the rest
//
// It is the start in reverse. From the end of the wait there is one deadline for all of it, and each part gets what is left of it; with
// the database away, the process is gone 10 s later. Redemptions that are not settled by then stay in the journal, and their leases
// stay open: this node's next start settles and returns them, or the reapers of other nodes take them back.
//
// Nothing below the handlers is stopped under one, unless it hangs.
//
// # Ready
//
// A load balancer should send requests here unless the node is starting or draining, or has neither a journal that works nor a ledger. A
// ledger that is away is away for all nodes: such a node is ready, and degraded. Package health says when the ledger is away: also when it
// answers and takes no heartbeat of this node.
//
// # Identity
//
// A node whose identity was taken by a newer process (a copied data directory) stops serving as soon as it hears of it. Until then
// the database refuses it grants and renewals, and the fence everything else.
package node
