package client_test

import (
	"context"
	"fmt"
	"time"

	"github.com/kavachd/kavachd/client"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// quickstart is what docs/clients.md shows: an agent is made, may do one thing and not another, and is revoked.
func quickstart(endpoints []string, key string) error {
	c, err := client.New(client.Config{Endpoints: endpoints, Key: key})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	made, err := c.Agents.CreateAgent(ctx, &kavachv1.CreateAgentRequest{
		OwnerId: "user-123", Name: "github-reader",
		Permissions: []*kavachv1.Permission{{Resource: "mcp:github:*", Actions: []string{"read"}}},
	})
	if err != nil {
		return err
	}
	agent := made.GetAgent().GetAgentId()

	for _, action := range []string{"read", "write"} {
		res, err := c.Authorization.Authorize(ctx, &kavachv1.AuthorizeRequest{
			AgentId: agent, Action: action, Resource: "mcp:github:repos",
		})
		if err != nil {
			return err // nothing was decided: not an allowance
		}
		fmt.Println(action, res.GetDecision().GetAllowed(), res.GetDecision().GetReasonCode())
	}

	if _, err := c.Agents.RevokeAgent(ctx, &kavachv1.RevokeAgentRequest{AgentId: agent}); err != nil {
		return err
	}
	res, err := c.Authorization.Authorize(ctx, &kavachv1.AuthorizeRequest{AgentId: agent, Action: "read", Resource: "mcp:github:repos"})
	if err != nil {
		return err
	}
	fmt.Println("revoked", res.GetDecision().GetAllowed(), res.GetDecision().GetReasonCode())

	_, err = c.Agents.GetAgent(ctx, &kavachv1.GetAgentRequest{AgentId: "agt_unknown"})
	fmt.Println(client.ReasonOf(err))
	return nil
}

func Example() {
	cluster, stop := exampleCluster()
	defer stop()
	if err := quickstart(cluster.endpoints, cluster.key); err != nil {
		fmt.Println(err)
	}
	// Output:
	// read true REASON_CODE_ALLOWED
	// write false REASON_CODE_NO_MATCHING_PERMISSION
	// revoked false REASON_CODE_AGENT_REVOKED
	// AGENT_NOT_FOUND
}
