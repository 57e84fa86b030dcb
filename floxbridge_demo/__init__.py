"""All of floxbridge on one machine: `floxbridge demo`, and the real parts that the node tests run on.

Drives `floxbridge`, `floxbridge-node` and containerd by their command lines and sockets, as an operator would. Imports
`flox_formats` and nothing else of the project.
"""
