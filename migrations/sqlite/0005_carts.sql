-- +goose Up

-- The twin of ../mysql.

-- Of the first entry of a redemption: the cart that it is an item of.
ALTER TABLE entries ADD COLUMN cart_id BLOB NULL;

-- Redemptions of several offers in one transaction. Rows are never changed. The id comes first, for a cart belongs to no one offer.
CREATE TABLE carts (
  id              BLOB    NOT NULL PRIMARY KEY,
  idempotency_key TEXT    NOT NULL,
  offer_ids       TEXT    NOT NULL,  -- with commas between them
  created_at      INTEGER NOT NULL
);

-- +goose Down
DROP TABLE carts;
ALTER TABLE entries DROP COLUMN cart_id;
