-- wrk's report as one line of JSON, with the 99th percentile in whole microseconds.
-- With an argument N, request number n asks for the path with "{}" replaced by n modulo N.
local environments, template, n

function init(arguments)
   environments = tonumber(arguments[1])
   template = wrk.path
   n = math.random(environments or 1)
end

function request()
   if environments then
      n = (n + 1) % environments
      return wrk.format(nil, (template:gsub("{}", n)))
   end
   return wrk.format()
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration_us": %d, "p99_us": %d, "failed": %d}\n',
      summary.requests, summary.duration, latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
