package trial

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tranche/loadtest/rivals/bench/load"
)

// Server is what is tried. It is started.
type Server interface {
	Addr() string
	// Kill is kill -9, Start starts the server again and waits until it is ready.
	Kill()
	Start(ctx context.Context) error
	// CatchUp waits until the server has done what it does behind its answers.
	CatchUp(ctx context.Context) error
	Books(ctx context.Context, offer string) (*Books, error)
	RolledUp(ctx context.Context, offer string) (*int64, error)
}

// Trial is one sale.
type Trial struct {
	Server Server
	Offer  string // is there, with that budget and limit
	Budget int64
	Limit  int64
	Orders int // more than the budget
	Kill   bool
}

const (
	customers = 64 // at once
	patience  = 30 * time.Second
	pause     = 50 * time.Millisecond // before asking again
)

// kills says when the server is killed: when so many percent of the budget are sold.
var kills = []int64{20, 40, 60} // read only

// sale is a trial under way.
type sale struct {
	*Trial
	client *load.Client
	record *Record
	start  time.Time
}

// Run sells the budget out and judges.
func (t *Trial) Run(ctx context.Context) (Verdict, error) {
	s := &sale{t, load.NewClient(t.Server.Addr(), 4*customers, 10*time.Second), newRecord(), time.Now()}
	defer s.client.Close()
	if err := s.sell(ctx); err != nil {
		return Verdict{}, err
	}
	if len(s.record.Odd) > 0 {
		return Verdict{}, fmt.Errorf("%d answers that nobody expects, the first: %s", len(s.record.Odd), s.record.Odd[0])
	}
	if err := t.Server.CatchUp(ctx); err != nil {
		return Verdict{}, err
	}
	books, err := t.Server.Books(ctx, t.Offer)
	if err != nil {
		return Verdict{}, err
	}
	counters, err := s.counters(ctx)
	if err != nil {
		return Verdict{}, err
	}
	return Judge(s.record, books, counters, t.Budget, t.Limit), nil
}

// sell serves all customers, and kills the server in between.
func (s *sale) sell(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var killing, serving sync.WaitGroup
	if s.Kill {
		killing.Go(func() { err = s.killInTheMiddle(ctx) })
	}
	next := make(chan int)
	for range customers {
		serving.Go(func() {
			for i := range next {
				s.serve(ctx, customer(i, s.Limit > 0))
			}
		})
	}
	for i := range s.Orders {
		next <- i
	}
	close(next)
	serving.Wait()
	cancel()
	killing.Wait()
	return err
}

func (s *sale) killInTheMiddle(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, percent := range kills {
		for int64(s.record.soldSoFar()) < s.Budget*percent/100 {
			select {
			case <-ctx.Done():
				return fmt.Errorf("the sale was over before %d %% were sold", percent)
			case <-tick.C:
			}
		}
		s.Server.Kill()
		if err := s.Server.Start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// buyer is a customer with one order.
type buyer struct {
	key, user    string
	clicksTwice  bool
	asksAgain    bool // after a success
	givesBack    bool
	leavesOnLoss bool // does not come back when an answer is lost
}

// customer makes the i-th. The kinds are mixed by numbers without common divisors, so that all mixtures come up.
func customer(i int, limited bool) buyer {
	b := buyer{
		key: fmt.Sprint("order-", i), user: fmt.Sprint("user-", i),
		clicksTwice: i%5 == 0, asksAgain: i%7 == 0, givesBack: i%17 == 0, leavesOnLoss: i%3 == 0,
	}
	if limited && i%8 == 1 { // the one before, under another key, at about the same time
		b.user = fmt.Sprint("user-", i-1)
	}
	return b
}

func (s *sale) serve(ctx context.Context, b buyer) {
	clicks := 1
	if b.clicksTwice {
		clicks = 2
	}
	var all sync.WaitGroup
	ids := make([]string, clicks)
	for i := range clicks {
		all.Go(func() { ids[i] = s.order(ctx, b) })
	}
	all.Wait()
	id := ids[0]
	if id == "" {
		return
	}
	if b.asksAgain {
		s.order(ctx, b)
	}
	if b.givesBack {
		for range 2 {
			all.Go(func() { s.giveBack(ctx, b, id) })
		}
		all.Wait()
	}
}

// order sends an order until it is decided, and gives the redemption's id if it was acknowledged.
func (s *sale) order(ctx context.Context, b buyer) (id string) {
	for deadline := s.now() + patience; s.now() < deadline && ctx.Err() == nil; {
		sent := s.now()
		s.record.sending(b.key, b.user, sent)
		a, err := s.client.Ask(http.MethodPost, load.Redemptions(s.Offer), b.key, `{"user_id":"`+b.user+`"}`)
		switch {
		case err != nil:
			if b.leavesOnLoss {
				s.record.leftOpen(b.key)
				return ""
			}
		case a.Status == http.StatusCreated:
			s.record.acknowledged(b.key, a.ID, s.now())
			return a.ID
		case a.Problem == "/problems/budget-exhausted", a.Problem == "/problems/user-limit-reached":
			s.record.refused(b.key, Refusal{sent, s.now(), a.Problem == "/problems/budget-exhausted"})
			return ""
		case !a.Retryable:
			s.record.odd(fmt.Sprintf("%+v", a))
			return ""
		}
		time.Sleep(pause)
	}
	s.record.leftOpen(b.key)
	return ""
}

// giveBack sends a refund until it is decided. Whoever asks for a refund keeps asking.
func (s *sale) giveBack(ctx context.Context, b buyer, id string) {
	for deadline := s.now() + patience; s.now() < deadline && ctx.Err() == nil; {
		a, err := s.client.Ask(http.MethodPost, "/v1/redemptions/"+id+"/refunds", "back", "")
		switch {
		case err != nil:
		case a.Status == http.StatusCreated:
			s.record.refunded(b.key, s.now())
			return
		case !a.Retryable:
			s.record.odd(fmt.Sprintf("refund: %+v", a))
			return
		}
		time.Sleep(pause)
	}
}

func (s *sale) now() time.Duration { return time.Since(s.start) }

// counters asks the server what it decides by.
func (s *sale) counters(ctx context.Context) (*Counters, error) {
	balance, err := s.client.Ask(http.MethodGet, "/v1/offers/"+s.Offer+"/balance", "", "")
	if err != nil || balance.Status != http.StatusOK {
		return nil, fmt.Errorf("balance: %+v: %w", balance, err)
	}
	c := &Counters{Redeemed: balance.Redeemed, Refunded: balance.Refunded, Users: map[string]int64{}}
	for _, o := range s.record.Orders {
		usage, err := s.client.Ask(http.MethodGet, "/v1/offers/"+s.Offer+"/users/"+o.User, "", "")
		if err != nil || usage.Status != http.StatusOK {
			return nil, fmt.Errorf("usage of %s: %+v: %w", o.User, usage, err)
		}
		c.Users[o.User] = usage.Redemptions
	}
	c.RolledUp, err = s.Server.RolledUp(ctx, s.Offer)
	return c, err
}
