-- +goose Up

-- The twin of ../mysql.

-- What the owner of a reclaimed lease may have acknowledged from its journal and not settled yet, and its sum over an offer.
ALTER TABLE leases ADD COLUMN exposed INTEGER NOT NULL DEFAULT 0 CHECK (exposed >= 0);
ALTER TABLE offers ADD COLUMN exposed INTEGER NOT NULL DEFAULT 0 CHECK (exposed >= 0);
-- Units booked after their lease had closed, ever.
ALTER TABLE offers ADD COLUMN late_units INTEGER NOT NULL DEFAULT 0 CHECK (late_units >= 0);

-- Acknowledged redemptions that the ledger would have refused. Rows are never changed.
CREATE TABLE exceptions (
  offer_id        TEXT NOT NULL,
  id              BLOB NOT NULL,
  reason          TEXT NOT NULL,
  redemption      BLOB NOT NULL,
  user_id         TEXT NOT NULL,
  order_id        TEXT NULL,
  units           INTEGER NOT NULL,
  lease_id        BLOB NOT NULL,
  node_id         BLOB NOT NULL,
  entry_id        BLOB NOT NULL,
  idempotency_key TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  PRIMARY KEY (offer_id, id),
  CONSTRAINT exceptions_units CHECK (units >= 1)
);
CREATE UNIQUE INDEX exceptions_entry ON exceptions (offer_id, entry_id, reason);

-- +goose Down
DROP TABLE exceptions;
ALTER TABLE offers DROP COLUMN late_units;
ALTER TABLE offers DROP COLUMN exposed;
ALTER TABLE leases DROP COLUMN exposed;
