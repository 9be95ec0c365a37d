package allocator

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tranche/models"
)

var (
	anyID    = rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) models.ID { return models.ID(b) })
	anyText  = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "</b>", `"quoted" \ so`, "a\u2028b", "Zoë 🎟", "\x01\t\n"}))
	anyEntry = rapid.Custom(func(t *rapid.T) models.Entry {
		e := models.Entry{
			OfferID: anyText.Draw(t, "offer"), ID: anyID.Draw(t, "id"), Kind: models.KindRedeem, UserID: anyText.Draw(t, "user"),
			OrderID: rapid.Ptr(anyText, true).Draw(t, "order"), IdempotencyKey: anyText.Draw(t, "key"), Units: rapid.Int64().Draw(t, "units"),
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

func TestARecordGivesItsEntryBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEntry.Draw(t, "entry")
		kind, payload, err := encodeRecord(&e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeRecord(kind, payload)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%s\nis read as %+v (%v)", payload, back, err)
		}
	})
}

// A program of another version reads the records of this one, so their bytes are fixed.
func TestTheBytesOfARecord(t *testing.T) {
	e := models.Entry{
		OfferID: "spring", ID: idOf(1), Kind: models.KindRedeem, UserID: "Zoë <\"1\">", IdempotencyKey: "k", Units: 3,
		LeaseID: idOf(2), NodeID: idOf(3), CreatedAt: 1_795_000_000_000_000,
	}
	const members = `{"offer_id":"spring","entry_id":"%s","user_id":"Zoë <\"1\">",%s"idempotency_key":"k","units":3,"lease_id":"%s","node_id":"%s",%s}`
	plain := fmt.Sprintf(members, e.ID, "", e.LeaseID, e.NodeID, `"created_at_us":1795000000000000`)
	held := e
	ends := e.CreatedAt.Add(time.Minute)
	held.Kind, held.HoldExpiresAt, held.OrderID, held.Metadata = models.KindHold, &ends, new("order"), new(`{"a":1}`)
	full := fmt.Sprintf(members, e.ID, `"order_id":"order",`, e.LeaseID, e.NodeID,
		`"metadata":"{\"a\":1}","created_at_us":1795000000000000,"hold_expires_at_us":1795000060000000`)
	for _, c := range []struct {
		entry models.Entry
		kind  byte
		want  string
	}{{e, 1, plain}, {held, 2, full}} {
		if kind, got, err := encodeRecord(&c.entry); err != nil || kind != c.kind || string(got) != c.want {
			t.Errorf("type %d\n%s\nwant %d\n%s (%v)", kind, got, c.kind, c.want, err)
		}
	}
}

func idOf(b byte) models.ID { return models.ID(bytes.Repeat([]byte{b}, 16)) }

func TestRecordOfATextThatIsNotUTF8IsRefused(t *testing.T) {
	e := models.Entry{OfferID: "o", UserID: "\xff", IdempotencyKey: "k", Units: 1, Kind: models.KindRedeem}
	if _, r, err := encodeRecord(&e); err == nil {
		t.Errorf("written: %s", r)
	}
}
