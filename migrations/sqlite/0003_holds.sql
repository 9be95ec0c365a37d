-- +goose Up

-- The twin of ../mysql.

-- Of a hold: when it may be given back.
ALTER TABLE entries ADD COLUMN hold_expires_at INTEGER NULL;

-- The holds that have not ended, for whoever looks for those that should. A row comes with the entry of its hold and goes with the
-- one that ends it, so the table is as small as what is held; the ledger alone says what a hold is.
CREATE TABLE holds (
  offer_id   TEXT NOT NULL,
  redemption BLOB NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (offer_id, redemption)
);
CREATE INDEX holds_of_offer ON holds (offer_id, expires_at);
CREATE INDEX holds_expiring ON holds (expires_at);

-- +goose Down
DROP TABLE holds;
ALTER TABLE entries DROP COLUMN hold_expires_at;
