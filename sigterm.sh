. /tmp/f/env.sh; T=$(cat /tmp/f/tok)
RMI_ALLOWED_HOSTS=mcp.example.com nohup $PY server/run_http_server.py > /tmp/f/server.log 2>&1 & echo $! > /tmp/f/server.pid
for i in $(seq 50); do curl -s -m 1 http://127.0.0.1:18431/ready | grep -q '"ready"' && break; sleep 0.2; done
for k in auto legacy sse; do BASE=$B $PY /tmp/f/hang2.py $k > /tmp/f/term-$k.txt 2>&1 & done
for i in $(seq 100); do curl -s -H "Authorization: Bearer $T" http://127.0.0.1:18431/metrics | grep -q "rmi_runs_running 3.0" && break; sleep 0.2; done; curl -s -H "Authorization: Bearer $T" http://127.0.0.1:18431/metrics | grep "^rmi_runs_running"
P=$(cat /tmp/f/server.pid); S=$(date +%s.%N); kill $P; while kill -0 $P 2>/dev/null; do sleep 0.02; done; echo "ended after $(echo "$(date +%s.%N)-$S" | bc)"; sleep 2; for k in auto legacy sse; do echo "== $k"; grep -v '^ ' /tmp/f/term-$k.txt | tail -8 | cut -c1-400; done; tail -5 /tmp/f/server.log; ps ax | grep -E "rmi-agent-" | grep -v grep | wc -l
