package api

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"tranche/models"
)

// What a redemption writes of itself is what the tags of its members would have made of it.
func TestRedemptionWritesWhatItsTagsSay(t *testing.T) {
	optional := func(t *rapid.T, name string, text *rapid.Generator[string]) *string {
		return rapid.Ptr(text, true).Draw(t, name)
	}
	instants := rapid.Map(rapid.Int64Range(0, 253_402_300_799_999_999), func(us int64) models.Micros { return models.Micros(us) })
	ids := rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) models.ID { return models.ID(b) })
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"</script>", `"quoted" \ and & so`, "a\u2028b", "Zoë 🎟", "\x01\t\n", ""}))
	documents := rapid.SampledFrom([]string{"{}", `{"html":"<b>&</b>","n":1.50,"deep":{"list":[1,null,"x"]}}`, `{"é":"\u00e9\"<"}`})
	rapid.Check(t, func(t *rapid.T) {
		r := models.Redemption{
			RedemptionID:   models.RedemptionID{OfferID: texts.Draw(t, "offer"), Hash: ids.Draw(t, "hash")},
			IdempotencyKey: texts.Draw(t, "key"), UserID: texts.Draw(t, "user"), OrderID: optional(t, "order", texts),
			Units: rapid.Int64().Draw(t, "units"), RefundedUnits: rapid.Int64().Draw(t, "refunded"),
			State: models.RedemptionState(texts.Draw(t, "state")), HoldExpiresAt: rapid.Ptr(instants, true).Draw(t, "hold ends"),
			Late: rapid.Bool().Draw(t, "late"), Journaled: rapid.Bool().Draw(t, "journaled"),
			NodeID: ids.Draw(t, "node"), LeaseID: ids.Draw(t, "lease"), Metadata: optional(t, "metadata", documents),
			CreatedAt: instants.Draw(t, "created"), ResolvedAt: rapid.Ptr(instants, true).Draw(t, "resolved"),
		}
		if rapid.Bool().Draw(t, "of a cart") {
			id := models.CartID(ids.Draw(t, "cart"))
			r.CartID = &id
		}
		shown := toRedemption(&r)
		var want bytes.Buffer
		if err := encodeJSON(&want, &shown); err != nil {
			t.Fatal(err)
		}
		if got, err := shown.appendJSON(nil); err != nil || string(got) != want.String() {
			t.Errorf("\n%s (%v)\nwant\n%s", got, err, &want)
		}
	})
}
