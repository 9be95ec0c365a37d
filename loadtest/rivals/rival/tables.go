package rival

import (
	"context"
	"database/sql"
	"fmt"
)

// The tables, in Tranche's types: identifiers byte by byte, instants in microseconds since 1970.
const (
	// used and refunded are the deciding counters of naive, and sums of the log for redis and split; slotted has slots instead.
	tableOffers = `CREATE TABLE IF NOT EXISTS offers (
		id         VARBINARY(64) NOT NULL PRIMARY KEY,
		name       VARBINARY(800) NOT NULL,
		budget     BIGINT NOT NULL,
		user_limit BIGINT NOT NULL,
		used       BIGINT NOT NULL DEFAULT 0,
		refunded   BIGINT NOT NULL DEFAULT 0)`

	// A row whose refund is all zeros is the redemption itself. The number is for whoever reads the log in order.
	tableLog = `CREATE TABLE IF NOT EXISTS log (
		number          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
		offer_id        VARBINARY(64)  NOT NULL,
		redemption      BINARY(16)     NOT NULL,
		refund          BINARY(16)     NOT NULL,
		user_id         VARBINARY(128) NOT NULL,
		order_id        VARBINARY(128) NULL,
		idempotency_key VARBINARY(255) NOT NULL,
		units           BIGINT         NOT NULL,
		created_at      BIGINT         NOT NULL,
		UNIQUE KEY log_redemption (offer_id, redemption, refund))`

	tableUsages = `CREATE TABLE IF NOT EXISTS usages (
		offer_id VARBINARY(64)  NOT NULL,
		user_id  VARBINARY(128) NOT NULL,
		used     BIGINT NOT NULL,
		refunded BIGINT NOT NULL DEFAULT 0,
		PRIMARY KEY (offer_id, user_id))`

	tableSlots = `CREATE TABLE IF NOT EXISTS slots (
		offer_id VARBINARY(64) NOT NULL,
		slot     INT    NOT NULL,
		size     BIGINT NOT NULL,
		used     BIGINT NOT NULL DEFAULT 0,
		refunded BIGINT NOT NULL DEFAULT 0,
		PRIMARY KEY (offer_id, slot))`

	// One row: up to which number the log is in offers.used and offers.refunded.
	tableCheckpoint = `CREATE TABLE IF NOT EXISTS checkpoint (
		id     INT NOT NULL PRIMARY KEY,
		number BIGINT UNSIGNED NOT NULL)`
)

func createTables(ctx context.Context, db *sql.DB, tables ...string) error {
	for _, t := range tables {
		if _, err := db.ExecContext(ctx, t); err != nil {
			return fmt.Errorf("creating the tables: %w", err)
		}
	}
	return nil
}
