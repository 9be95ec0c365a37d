// Package catalogue keeps what a node knows of the offers, and of the database's clock.
//
// The offers that are not over are one immutable map. A sync that finds changes replaces the map as a whole, so readers take no
// lock. An offer that is not in the map is read from the database.
//
// An offer never goes back to an older version: an answer that was on its way while a newer one came is dropped. Subscribers hear
// of each newer offer once, after the catalogue has it. The keeper of the leases is one: it learns of recalls that way, and it
// teaches the catalogue the offers that come with its leases.
package catalogue
