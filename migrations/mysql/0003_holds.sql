-- +goose Up

-- DDL commits by itself here: see 0002.

-- Of a hold: when it may be given back.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE entries ADD COLUMN hold_expires_at BIGINT NULL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'entries' AND column_name = 'hold_expires_at');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- The holds that have not ended, for whoever looks for those that should. A row comes with the entry of its hold and goes with the
-- one that ends it, so the table is as small as what is held; the ledger alone says what a hold is.
CREATE TABLE IF NOT EXISTS holds (
  offer_id   VARBINARY(64) NOT NULL,
  redemption BINARY(16)    NOT NULL,
  expires_at BIGINT        NOT NULL,
  PRIMARY KEY (offer_id, redemption),
  KEY holds_of_offer (offer_id, expires_at),
  KEY holds_expiring (expires_at)
);

-- +goose Down
DROP TABLE holds;
ALTER TABLE entries DROP COLUMN hold_expires_at;
