// A verifier that is not geofenced's: the reference implementation of signed notes and transparent logs
// (golang.org/x/mod/sumdb), from Debian's packages golang-go and golang-golang-x-mod-dev. It reads files, and
// exits with 1 where something is not as it should be.
//
//	verify checkpoint KEY NOTE
//	verify inclusion KEY PROOF BLOCK
//	verify consistency KEY OLD-NOTE REQUEST
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Bytes of a block's head, which stand in its entry as they are.
const headBytes = 128

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("verify checkpoint|inclusion|consistency KEY FILE...")
	}
	files := make([]string, 0, len(args)-1)
	for _, path := range args[1:] {
		bytes, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files = append(files, string(bytes))
	}
	key := strings.SplitN(files[0], "\n", 2)[0]
	switch args[0] {
	case "checkpoint":
		tree, err := open(key, files[1])
		if err == nil {
			fmt.Println(tree.N, tree.Hash)
		}
		return err
	case "inclusion":
		return inclusion(key, files[1], files[2])
	case "consistency":
		return consistency(key, files[1], files[2])
	}
	return errors.New("what is that?")
}

// The tree of a checkpoint that the key signed. tlog.ParseTree wants the first line of one log alone, so the
// three lines are read here.
func open(key, message string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open([]byte(message), note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return tree, errors.New("no checkpoint")
	}
	tree.N, err = strconv.ParseInt(lines[1], 10, 64)
	if err == nil {
		tree.Hash, err = tlog.ParseHash(lines[2])
	}
	return tree, err
}

// What stands before a checkpoint: a line, hashes, an empty line.
func split(text, first string) (number int64, hashes []tlog.Hash, rest string, err error) {
	before, rest, found := strings.Cut(text, "\n\n")
	if !found {
		return 0, nil, "", errors.New("no empty line")
	}
	lines := strings.Split(before, "\n")
	number, err = strconv.ParseInt(strings.TrimPrefix(lines[0], first), 10, 64)
	if err != nil {
		return 0, nil, "", err
	}
	for _, line := range lines[1:] {
		bytes, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(bytes) != tlog.HashSize {
			return 0, nil, "", errors.New("no hash: " + line)
		}
		hashes = append(hashes, tlog.Hash(*(*[tlog.HashSize]byte)(bytes)))
	}
	return number, hashes, rest, nil
}

func inclusion(key, proof, block string) error {
	const first = "c2sp.org/tlog-proof@v1\n"
	if !strings.HasPrefix(proof, first) || len(block) < headBytes {
		return errors.New("no proof, or no block")
	}
	index, hashes, message, err := split(strings.TrimPrefix(proof, first), "index ")
	if err != nil {
		return err
	}
	tree, err := open(key, message)
	if err != nil {
		return err
	}
	payload := sha256.Sum256([]byte(block[headBytes:]))
	leaf := tlog.RecordHash(append([]byte(block[:headBytes]), payload[:]...))
	return tlog.CheckRecord(tlog.RecordProof(hashes), tree.N, tree.Hash, index, leaf)
}

func consistency(key, before, request string) error {
	old, err := open(key, before)
	if err != nil {
		return err
	}
	size, hashes, message, err := split(request, "old ")
	if err != nil {
		return err
	}
	if size != old.N {
		return errors.New("it goes on from another size")
	}
	tree, err := open(key, message)
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(hashes), tree.N, tree.Hash, old.N, old.Hash)
}
