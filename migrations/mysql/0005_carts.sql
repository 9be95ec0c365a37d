-- +goose Up

-- DDL commits by itself here: see 0002.

-- Of the first entry of a redemption: the cart that it is an item of.
SET @ddl = (SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE entries ADD COLUMN cart_id BINARY(16) NULL')
  FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'entries' AND column_name = 'cart_id');
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- Redemptions of several offers in one transaction. Rows are never changed. The id comes first, for a cart belongs to no one offer.
CREATE TABLE IF NOT EXISTS carts (
  id              BINARY(16)      NOT NULL PRIMARY KEY,
  idempotency_key VARBINARY(255)  NOT NULL,
  offer_ids       VARBINARY(1300) NOT NULL,  -- with commas between them
  created_at      BIGINT          NOT NULL
);

-- +goose Down
DROP TABLE carts;
ALTER TABLE entries DROP COLUMN cart_id;
