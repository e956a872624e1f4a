// Toxiproxy's HTTP API on the address that is the only argument; proxies are made through it.
package main

import (
	"fmt"
	"os"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

func main() {
	logger := zerolog.New(os.Stdout).With().Timestamp().Logger()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), logger)
	if err := server.Listen(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
