// Package fill makes a database of Tranche's as large as it would be after months, in minutes.
//
// What it writes is what the service would have written: entries of redemptions with their keys, hashes and time-ordered ids, the closed leases
// that they were spent from, and the sums of those folded into the offer's row, so that the books add up. It writes faster than the service
// because it checks nothing, and because the ledger's secondary indexes are taken off before and built again after, which also makes
// them denser than they would have grown. Nothing else may use the tables meanwhile.
//
// The counters of users come alone: nobody reads the entries behind them where they are kept.
package fill
