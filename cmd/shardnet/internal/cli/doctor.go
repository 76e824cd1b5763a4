package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"shardnet/cmd/shardnet/internal/doctor"
)

func newDoctor() *cobra.Command {
	var iface string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what stands in the way of serving over AF_XDP",
		Example: `  shardnet doctor
  shardnet doctor -i eth1`,
	}
	cmd.Flags().StringVarP(&iface, "interface", "i", "", "network interface to look at, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "report in JSON, an object a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		findings := doctor.Host()
		if iface != "" {
			findings = append(findings, doctor.Interface(iface)...)
		}
		ok, err := doctor.Report(cmd.OutOrStdout(), findings, asJSON)
		if err == nil && !ok {
			err = errors.New("AF_XDP will not work here before what failed above is put right")
		}
		return err
	}
	return cmd
}
