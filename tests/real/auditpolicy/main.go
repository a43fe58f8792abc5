// Asks kube-apiserver's own policy checker about recorded events.
//
// The first argument is a file of events, one a line. Each line of standard input is a policy file in base64; the
// answer is a line with a JSON object: `refused` says why the apiserver does not take the file; else `warned` is whether
// it takes it with a warning, and `answers` has for each event what the checker says: the level, the omitted stages,
// whether managed fields go. A request is made anew from an event's URI and verb, so that nothing but the apiserver's
// code reads the resource.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
)

const longestLine = 64 << 20

var methods = map[string]string{
	"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE",
	"get": "GET", "list": "GET", "watch": "GET",
}

type event struct {
	Verb       string
	RequestURI string
	User       struct {
		Username string
		Groups   []string
	}
}

func attributes(one event) (authorizer.Attributes, error) {
	method, known := methods[one.Verb]
	if !known {
		method = strings.ToUpper(one.Verb)
	}
	address, err := url.ParseRequestURI(one.RequestURI)
	if err != nil {
		return nil, err
	}
	factory := request.RequestInfoFactory{
		APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
	}
	info, err := factory.NewRequestInfo(&http.Request{Method: method, URL: address})
	if err != nil {
		return nil, err
	}
	found := authorizer.AttributesRecord{
		Verb: info.Verb, Namespace: info.Namespace, APIGroup: info.APIGroup, APIVersion: info.APIVersion,
		Resource: info.Resource, Subresource: info.Subresource, Name: info.Name,
		ResourceRequest: info.IsResourceRequest, Path: info.Path,
	}
	if one.User.Username != "" {
		found.User = &user.DefaultInfo{Name: one.User.Username, Groups: one.User.Groups}
	}
	return found, nil
}

func lines(file *os.File) *bufio.Scanner {
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), longestLine)
	return scanner
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func said(stages []auditinternal.Stage) string {
	names := policy.ConvertStagesToStrings(stages)
	sort.Strings(names)
	return strings.Join(names, ",")
}

type answer struct {
	Refused string   `json:"refused,omitempty"`
	Warned  bool     `json:"warned,omitempty"`
	Answers []string `json:"answers,omitempty"`
}

func answered(content []byte, requests []authorizer.Attributes, log *bytes.Buffer) answer {
	log.Reset()
	loaded, err := policy.LoadPolicyFromBytes(content)
	klog.Flush()
	if err != nil {
		return answer{Refused: err.Error()}
	}
	found := answer{Warned: strings.Contains(log.String(), "lenient decoding")}
	evaluator := policy.NewPolicyRuleEvaluator(loaded)
	for _, asked := range requests {
		decision := evaluator.EvaluatePolicyRule(asked)
		found.Answers = append(found.Answers, fmt.Sprintf("%s|%s|%t", decision.Level, said(decision.OmitStages), decision.OmitManagedFields))
	}
	return found
}

func main() {
	var log bytes.Buffer
	flags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(flags)
	check(flags.Set("logtostderr", "false"))
	check(flags.Set("stderrthreshold", "FATAL"))
	klog.SetOutput(&log)
	file, err := os.Open(os.Args[1])
	check(err)
	var requests []authorizer.Attributes
	for events := lines(file); events.Scan(); {
		var one event
		check(json.Unmarshal(events.Bytes(), &one))
		asked, err := attributes(one)
		check(err)
		requests = append(requests, asked)
	}
	for policies := lines(os.Stdin); policies.Scan(); {
		content, err := base64.StdEncoding.DecodeString(policies.Text())
		check(err)
		encoded, err := json.Marshal(answered(content, requests, &log))
		check(err)
		fmt.Println(string(encoded))
	}
}
