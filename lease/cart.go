package lease

import "tranche/models"

// CartItem is an entry of a cart on its way into the ledger, and the block whose lease it is booked on.
type CartItem struct {
	Block *Block
	Offer *models.Offer
	Entry models.Entry
}
