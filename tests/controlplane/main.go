// Command controlplane is a real Kubernetes control plane in one file for the
// end-to-end tests: by its first argument it runs as etcd, kube-apiserver or
// kubectl, each linked unchanged from its upstream module.
//
// Tests need the programs that users run, not stand-ins, and a Go module is
// the one form in which they can be fetched everywhere that Go can.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("which program? one of: etcd kube-apiserver kubectl")
	}
	program := os.Args[1]
	// Each program reads os.Args itself, as if it had been called by its name.
	os.Args = append([]string{program}, os.Args[2:]...)
	switch program {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fail("unknown program %q: one of: etcd kube-apiserver kubectl", program)
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "controlplane: "+format+"\n", arguments...)
	os.Exit(2)
}
