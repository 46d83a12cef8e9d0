package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/auth"
	"github.com/hometrip/gateway/internal/authz"
	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/rooms"
)

// explainTimeout is how long the policy may take to answer, connecting to Redis
// included.
const explainTimeout = 10 * time.Second

func newAuthzCommand() *cobra.Command {
	return newGroup("authz", "Ask ROOM_POLICY about a user and a room", "  gateway authz explain 42 conversation:7", newExplainCommand())
}

func newExplainCommand() *cobra.Command {
	var who rooms.Identity
	var token string
	var asJSON *bool
	command := &cobra.Command{
		Use:   "explain USER ROOM",
		Short: "Show whether a user may join a room, and why; exit 1 if not",
		Example: `  gateway authz explain 42 conversation:7
  gateway authz explain 42 conversation:7 --rooms 'conversation:*'
  gateway authz explain 42 conversation:7 --token eyJ…   # as this token would be judged`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := readConfig(c)
			if err != nil {
				return err
			}
			if token != "" {
				if who, err = identityOf(cfg, token); err != nil {
					return fmt.Errorf("the token: %w", err)
				}
				if who.UserID != args[0] {
					return fmt.Errorf("the token is of user %s, not of %s", who.UserID, args[0])
				}
			}
			who.UserID = args[0]
			verdict, err := askPolicy(c.Context(), cfg, who, args[1])
			if err != nil {
				return err
			}
			return printVerdict(c.OutOrStdout(), who.UserID, args[1], verdict, *asJSON)
		},
	}
	flags := command.Flags()
	flags.StringVar(&who.Email, "email", "", "email the token would carry")
	flags.StringVar(&who.Role, "role", "", "role the token would carry")
	flags.StringSliceVar(&who.Rooms, "rooms", nil, "rooms and patterns the token would carry")
	flags.StringVar(&token, "token", "", "take user, email, role and rooms from this token")
	asJSON = jsonFlag(command)
	return command
}

func identityOf(cfg config.Config, token string) (rooms.Identity, error) {
	var verifier *auth.Verifier
	err := verification(cfg, func(c auth.Config) (err error) {
		verifier, err = auth.New(c)
		return err
	})
	if err != nil {
		return rooms.Identity{}, err
	}
	defer verifier.Close()
	return verifier.Verify(token, time.Now())
}

// askPolicy asks the policy. ROOM_POLICY=redis connects first: it is asked
// repeatedly until it answers or explainTimeout has passed.
func askPolicy(ctx context.Context, cfg config.Config, who rooms.Identity, room string) (authz.Verdict, error) {
	gate, err := newAuthorizer(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return authz.Verdict{}, err
	}
	if gate == nil {
		return authz.Verdict{Allow: true, Why: "ROOM_POLICY=open: everybody may be in every room"}, nil
	}
	gate.Start(noRooms{})
	defer gate.Close()
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	for {
		v := gate.Explain(ctx, who, room)
		if !v.Unknown || cfg.Rooms.Policy != authz.Redis {
			return v, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return v, nil
		}
	}
}

// noRooms implements authz.Members for a node without rooms.
type noRooms struct{}

func (noRooms) Users(context.Context, string) ([]string, error) { return nil, nil }
func (noRooms) Expel(string, []string, string)                  {}
func (noRooms) Names(int) ([]string, int)                       { return nil, 0 }

func printVerdict(out io.Writer, user, room string, v authz.Verdict, asJSON bool) error {
	answer := "no"
	switch {
	case v.Allow:
		answer = "yes"
	case v.Unknown:
		answer = "no, for want of an answer"
	}
	var err error
	if asJSON {
		err = printJSON(out, map[string]any{"user": user, "room": room, "allow": v.Allow, "known": !v.Unknown, "why": v.Why})
	} else {
		_, err = fmt.Fprintf(out, "%s: %s\n", answer, v.Why)
	}
	if err == nil && !v.Allow {
		err = errors.New("user " + user + " may not join " + room)
	}
	return err
}
