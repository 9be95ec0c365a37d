-- +goose Up

-- DDL commits by itself here, so a process killed half-way through is continued by the next one. MySQL has no
-- ADD COLUMN IF NOT EXISTS (MariaDB has): each ALTER is prepared from a text that is empty of effect when the column is there.

-- What the owner of a reclaimed lease may have acknowledged from its journal and not settled yet, and its sum over an offer.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE leases ADD COLUMN exposed BIGINT NOT NULL DEFAULT 0 CHECK (exposed >= 0)')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'leases' AND column_name = 'exposed');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE offers ADD COLUMN exposed BIGINT NOT NULL DEFAULT 0 CHECK (exposed >= 0)')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'offers' AND column_name = 'exposed');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
-- Units booked after their lease had closed, ever.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE offers ADD COLUMN late_units BIGINT NOT NULL DEFAULT 0 CHECK (late_units >= 0)')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'offers' AND column_name = 'late_units');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- Acknowledged redemptions that the ledger would have refused. Rows are never changed.
CREATE TABLE IF NOT EXISTS exceptions (
  offer_id        VARBINARY(64)  NOT NULL,
  id              BINARY(16)     NOT NULL,
  reason          VARBINARY(16)  NOT NULL,
  redemption      BINARY(16)     NOT NULL,
  user_id         VARBINARY(128) NOT NULL,
  order_id        VARBINARY(128) NULL,
  units           BIGINT         NOT NULL,
  lease_id        BINARY(16)     NOT NULL,
  node_id         BINARY(16)     NOT NULL,
  entry_id        BINARY(16)     NOT NULL,
  idempotency_key VARBINARY(255) NOT NULL,
  created_at      BIGINT         NOT NULL,
  PRIMARY KEY (offer_id, id),
  UNIQUE KEY exceptions_entry (offer_id, entry_id, reason),
  CONSTRAINT exceptions_units CHECK (units >= 1)
);

-- +goose Down
DROP TABLE exceptions;
ALTER TABLE offers DROP COLUMN late_units;
ALTER TABLE offers DROP COLUMN exposed;
ALTER TABLE leases DROP COLUMN exposed;
