package store

import (
	"context"
	"database/sql/driver"
	"reflect"
	"sync"
	"testing"

	"gorm.io/gorm/schema"

	"tranche/models"
)

// The columns that an insert names are those of the model, each with what gorm reads back from it. It leaves out only what is zero.
func TestEntryColumnsAreThoseOfTheModel(t *testing.T) {
	s, err := schema.Parse(&models.Entry{}, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		t.Fatal(err)
	}
	order, reason, metadata, cart, ends := "order", "reason", "{}", models.CartID(models.NewID()), models.Micros(7)
	full := models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.NewID(), Seq: 3, Kind: models.KindRefund, UserID: "u", OrderID: &order,
		IdempotencyKey: "k", Units: 4, LeaseID: models.NewID(), NodeID: models.NewID(), HoldExpiresAt: &ends, CartID: &cart,
		RestoresBudget: true, RestoresUserLimit: true, Late: true, Reason: &reason, Metadata: &metadata, CreatedAt: 5,
	}
	if len(entryColumns) != len(s.DBNames) {
		t.Errorf("%d columns, and the model has %d", len(entryColumns), len(s.DBNames))
	}
	for _, c := range entryColumns {
		field := s.FieldsByDBName[c.name]
		if field == nil {
			t.Errorf("the model has no %s", c.name)
			continue
		}
		want, zero := field.ValueOf(context.Background(), reflect.ValueOf(&full))
		if zero {
			t.Errorf("%s is not tried", c.name)
		}
		if got := toDatabase(t, valueOf(&c, &full)); !reflect.DeepEqual(got, toDatabase(t, want)) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		var empty models.Entry
		if nullable := field.FieldType.Kind() == reflect.Pointer; (c.has != nil) != (nullable || c.zero) || c.has != nil && (c.has(&empty) || !c.has(&full)) {
			t.Errorf("%s: whether there is a value is not told right", c.name)
		}
	}
}

func valueOf(c *entryColumn, e *models.Entry) any {
	if c.id != nil {
		return c.id(e)
	}
	return c.value(e)
}

// toDatabase is what database/sql hands a driver for a value.
func toDatabase(t *testing.T, value any) driver.Value {
	t.Helper()
	v, err := driver.DefaultParameterConverter.ConvertValue(value)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
