// Package catalogue keeps what a node knows of the offers, and of the database's clock.
//
// The offers that are not over are one immutable map. A sync that finds changes replaces the map as a whole, so readers take no
// lock. An offer that is not in the map is read from the database.
//
// An answer that was on its way while a newer one came is dropped. Lower numbers are believed from a read that locked the offer's row and
// was sent after the higher ones had been received: then the ledger has lost commits. Any other read that shows them makes the next sync
// read the offer with a lock. Subscribers hear of each offer that is newer or went back, once, in order, after the catalogue has it. The keeper of the leases is one: it learns of recalls that way, and it
// teaches the catalogue the offers that come with its leases.
package catalogue
