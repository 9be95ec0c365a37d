package allocator

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"tranche/models"
)

var (
	anyID    = rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) models.ID { return models.ID(b) })
	anyText  = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "</b>", `"quoted" \ so`, "a\u2028b", "Zoë 🎟", "\x01\t\n"}))
	anyEntry = rapid.Custom(func(t *rapid.T) models.Entry {
		e := models.Entry{
			OfferID: anyText.Draw(t, "offer"), ID: anyID.Draw(t, "id"), Kind: models.KindRedeem, UserID: anyText.Draw(t, "user"),
			OrderID: rapid.Ptr(anyText.Filter(func(s string) bool { return s != "" }), true).Draw(t, "order"), IdempotencyKey: anyText.Draw(t, "key"), Units: rapid.Int64().Draw(t, "units"),
			LeaseID: anyID.Draw(t, "lease"), NodeID: anyID.Draw(t, "node"), CreatedAt: models.Micros(rapid.Int64().Draw(t, "created")),
			Metadata: rapid.Ptr(rapid.SampledFrom([]string{"{}", `{"a":"<\"é\">"}`}), true).Draw(t, "metadata"),
		}
		e.Redemption = models.RedemptionIDOf(e.OfferID, e.IdempotencyKey).Hash
		if rapid.Bool().Draw(t, "held") {
			ends := models.Micros(rapid.Int64().Draw(t, "ends"))
			e.Kind, e.HoldExpiresAt = models.KindHold, &ends
		}
		return e
	})
)

// A record says what the tags of its members say, so that what is written today is read by them years later.
func TestRecordIsWrittenAsItsTagsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry.Draw(t, "entry")
		kind, got, err := appendRecord(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRecord(kind, got)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%s\nis read as %+v (%v)", got, back, err)
		}
		var r record
		if err := json.Unmarshal(got, &r); err != nil {
			t.Fatal(err)
		}
		if want, err := json.Marshal(&r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("\n%s\nwant\n%s (%v)", got, want, err)
		}
	})
}

// A remembered entry must not keep a whole cart in memory, nor what its ids were read from.
func TestAKeepsakeIsTheEntryAndSharesNoIDsWithIt(t *testing.T) {
	cart, order := &models.Cart{ID: models.CartIDOf("k")}, "order"
	for _, e := range []models.Entry{
		{OfferID: "o", UserID: "user", IdempotencyKey: "key", OrderID: &order, CartID: &cart.ID, Units: 2},
		{OfferID: "o", UserID: "user", IdempotencyKey: "key"},
		{OfferID: "o", IdempotencyKey: "key", OrderID: new("")},
	} {
		var kept keepsake
		kept.keep(&models.Offer{ID: "o"}, &e)
		if !reflect.DeepEqual(kept.entry, e) {
			t.Errorf("of %+v it keeps %+v", e, kept.entry)
		}
		if e.CartID != nil && kept.entry.CartID == e.CartID || e.OrderID != nil && kept.entry.OrderID == e.OrderID {
			t.Errorf("it shares with %+v", e)
		}
	}
}

func TestRecordOfATextThatIsNotUTF8IsRefused(t *testing.T) {
	e := models.Entry{OfferID: "o", UserID: "\xff", IdempotencyKey: "k", Units: 1, Kind: models.KindRedeem}
	if _, r, err := appendRecord(nil, &e); err == nil {
		t.Errorf("written: %s", r)
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	order := "order-987654"
	e := models.Entry{
		OfferID: "spring-2026", ID: models.NewID(), Kind: models.KindRedeem, UserID: "user-123456", OrderID: &order, IdempotencyKey: "order-987654-1",
		Units: 1, LeaseID: models.NewID(), NodeID: models.NewID(), CreatedAt: 1_795_000_000_000_000,
	}
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		var err error
		if _, out, err = appendRecord(out[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}
