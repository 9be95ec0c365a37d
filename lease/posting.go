package lease

import "tranche/models"

// Posting is an entry on its way into the ledger, and the lease that it is posted on.
type Posting struct {
	Block *Block
	Offer *models.Offer
	Entry models.Entry
}
