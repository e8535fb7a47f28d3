package control

import "net/http"

// Endpoints are the methods and paths that the server answers.
func Endpoints() []string {
	var all []string
	for _, e := range new(handler).endpoints(http.NotFoundHandler()) {
		all = append(all, e.method+" "+e.pattern)
	}
	return all
}

// ErrorBody is the body of every answer that is not 2xx.
type ErrorBody = errorBody

// CompanionList is the answer to what is about companions.
type CompanionList = companionList
