// gardenlet's own part with Extensions, as a program: writes them, waits for them, migrates, restores and destroys them
// with the code with which gardenlet does, so that gardenlet judges our status. Exit code 1 and what it said otherwise.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	gardencorev1beta1 "github.com/gardener/gardener/pkg/apis/core/v1beta1"
	extensionsv1alpha1 "github.com/gardener/gardener/pkg/apis/extensions/v1alpha1"
	"github.com/gardener/gardener/pkg/component/extensions/extension"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("usage: gardenlet KUBECONFIG NAMESPACE TYPE OPERATION PROVIDER-CONFIG-FILE"))
	}
	kubeconfig, namespace, kind, operation, file := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	fail(err)
	scheme := runtime.NewScheme()
	fail(extensionsv1alpha1.AddToScheme(scheme))
	c, err := client.New(rest, client.Options{Scheme: scheme})
	fail(err)
	config, err := os.ReadFile(file)
	fail(err)
	before, after := gardencorev1beta1.BeforeKubeAPIServer, gardencorev1beta1.AfterKubeAPIServer
	spec := extensionsv1alpha1.ExtensionSpec{DefaultSpec: extensionsv1alpha1.DefaultSpec{
		Type: kind, ProviderConfig: &runtime.RawExtension{Raw: config},
	}}
	whole := extensionsv1alpha1.Extension{ObjectMeta: metav1.ObjectMeta{Name: kind, Namespace: namespace}, Spec: spec}
	lifecycle := &gardencorev1beta1.ControllerResourceLifecycle{Reconcile: &before, Delete: &after, Migrate: &after}
	values := &extension.Values{Namespace: namespace, Extensions: map[string]extension.Extension{
		kind: {Extension: whole, Timeout: extension.DefaultTimeout, Lifecycle: lifecycle},
	}}
	e := extension.New(logr.Discard(), c, values, time.Second, extension.DefaultSevereThreshold, extension.DefaultTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	started := time.Now()
	switch operation {
	case "reconcile":
		fail(e.DeployBeforeKubeAPIServer(ctx))
		fail(e.WaitBeforeKubeAPIServer(ctx))
	case "restore":
		fail(e.RestoreBeforeKubeAPIServer(ctx, &gardencorev1beta1.ShootState{}))
		fail(e.WaitBeforeKubeAPIServer(ctx))
	case "migrate":
		fail(e.MigrateAfterKubeAPIServer(ctx))
		fail(e.WaitMigrateAfterKubeAPIServer(ctx))
	case "destroy":
		fail(e.DestroyAfterKubeAPIServer(ctx))
		fail(e.WaitCleanupAfterKubeAPIServer(ctx))
	default:
		fail(fmt.Errorf("no operation %q", operation))
	}
	fmt.Printf("%s: gardenlet is content after %.1f s\n", operation, time.Since(started).Seconds())
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
