# Sets the project up in .venv on Windows, from any working directory and as often as you like:
#
#   .\setup.ps1        the pinned packages, the project itself, the samples
#   .\setup.ps1 -Llm   also what `rmi-agent ask` and `rmi-agent chat` need
#   .\setup.ps1 -Dev   also what tests and checks need, the agent's packages among it
#
# Uses uv where it is installed, otherwise venv and pip. $env:PYTHON chooses the interpreter.
# Written for Windows PowerShell 5.1; where scripts are blocked:
#   powershell -ExecutionPolicy Bypass -File setup.ps1
[CmdletBinding(PositionalBinding = $false)]
param(
    [switch]$Dev,
    [switch]$Llm,
    [Parameter(ValueFromRemainingArguments = $true)][string[]]$Rest
)

# Not 'Stop': 5.1 would then take a native program's first line on stderr for an error.
# Exit codes are checked instead, and cmdlets that must succeed say -ErrorAction Stop.
$ErrorActionPreference = 'Continue'

foreach ($argument in @($Rest | Where-Object { $_ })) {
    if ($argument -eq '--dev') {
        $Dev = $true
    } elseif ($argument -eq '--llm') {
        $Llm = $true
    } else {
        [Console]::Error.WriteLine("setup.ps1: unknown option '$argument'; there are -Llm and -Dev")
        exit 2
    }
}

$root = $PSScriptRoot
$venv = Join-Path $root '.venv'
$venvPython = Join-Path $venv 'Scripts\python.exe'
$agent = Join-Path $venv 'Scripts\rmi-agent.exe'
$stamp = Join-Path $venv '.setup-stamp'
$uvCommand = Get-Command uv -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
$uv = if ($uvCommand) { $uvCommand.Source } else { $null }

function Stop-Setup([string]$Message) {
    [Console]::Error.WriteLine("setup.ps1: $Message")
    exit 1
}

# Runs a step: silent when it succeeds, everything it said when it fails.
function Invoke-Step([string]$What, [string]$Program, [string[]]$Arguments) {
    $output = & $Program @Arguments 2>&1
    if ($LASTEXITCODE -ne 0) {
        $output | ForEach-Object { [Console]::Error.WriteLine("$_") }
        # A refusal, unlike an interruption, leaves a usable .venv as it was.
        Set-Content $stamp $before -Encoding UTF8
        Stop-Setup "$What failed; the lines above say why"
    }
}

# No double quotes in the code handed to Python: 5.1 loses them on the way.
function Test-Python([string]$Program, [string[]]$Arguments) {
    try {
        & $Program @Arguments -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>&1 | Out-Null
    } catch {
        return $false
    }
    return $LASTEXITCODE -eq 0
}

function Get-PythonPath([string]$Program, [string[]]$Arguments) {
    return (& $Program @Arguments -c 'import sys; print(sys.executable)' | Select-Object -Last 1)
}

# A PYTHON that the caller named is taken or refused, never passed over. Each candidate is run,
# because Windows puts a `python` on PATH that only opens the store.
function Find-Python {
    if ($env:PYTHON) {
        if (Test-Python $env:PYTHON @()) { return Get-PythonPath $env:PYTHON @() }
        Stop-Setup "Python 3.11 or newer is needed, and PYTHON=$env:PYTHON is not that"
    }
    $candidates = @(
        @('python'), @('python3'), @('py', '-3.14'), @('py', '-3.13'), @('py', '-3.12'), @('py', '-3.11')
    )
    foreach ($candidate in $candidates) {
        $name = $candidate[0]
        $arguments = @($candidate | Select-Object -Skip 1)
        if (-not (Get-Command $name -CommandType Application -ErrorAction SilentlyContinue)) { continue }
        if (Test-Python $name $arguments) { return Get-PythonPath $name $arguments }
    }
    if ($uv) {
        # uv knows interpreters that it installed itself and that are not on PATH.
        $found = & $uv python find --no-project '>=3.11' 2>$null | Select-Object -Last 1
        if ($LASTEXITCODE -eq 0 -and $found -and (Test-Python $found @())) { return $found }
    }
    Stop-Setup 'Python 3.11 or newer is needed; install one or set $env:PYTHON to the path of one'
}

function New-Venv {
    $python = Find-Python
    Write-Output "Making .venv with $python ..."
    if (Test-Path $venv) {
        try {
            Remove-Item -Recurse -Force $venv -ErrorAction Stop
        } catch {
            Stop-Setup ".venv could not be removed, something in it is in use: $_"
        }
    }
    New-Item -ItemType Directory $venv -ErrorAction Stop | Out-Null
    $script:before = 'unfinished'
    Set-Content $stamp $before
    if ($uv) {
        # --seed: users expect pip in it, and so does %pip in a kernel.
        Invoke-Step 'making .venv' $uv @('venv', '--quiet', '--allow-existing', '--seed', '--python', $python, $venv)
    } else {
        Invoke-Step 'making .venv' $python @('-m', 'venv', $venv)
    }
}

function Install-Into([string]$What, [string[]]$Arguments) {
    if ($uv) {
        Invoke-Step "installing $What" $uv (
            @('pip', 'install', '--quiet', '--python', $venvPython, '--compile-bytecode') + $Arguments)
    } else {
        Invoke-Step "installing $What" $venvPython (
            @('-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input') + $Arguments)
    }
}

# Whether packages can be installed into the .venv that is there: one that a finished run made for
# this place, or one that somebody made by hand. What an interrupted run left is not trusted.
function Test-Reusable {
    if (-not (Test-Path $venvPython)) { return $false }
    if ($before) {
        if (-not $before.EndsWith(" $root") -or -not (Test-Path $agent)) { return $false }
    }
    if (-not (Test-Python $venvPython @())) { return $false }
    if ($uv) { return $true }
    & $venvPython -m pip --version 2>&1 | Out-Null
    return $LASTEXITCODE -eq 0
}

# The stamp says what a finished run installed, and where: scripts and the project's path entry in
# .venv are absolute, so a checkout that was moved needs a new one.
$before = ''
if (Test-Path $stamp) { $before = "$(Get-Content $stamp -TotalCount 1 -Encoding UTF8)" }
# A plain run takes nothing away.
if ($before.StartsWith('dev ')) { $Dev = $true }
if ($before.StartsWith('llm ')) { $Llm = $true }
$mode = if ($Dev) { 'dev' } elseif ($Llm) { 'llm' } else { 'plain' }
$hashes = 'requirements.txt', 'requirements-llm.txt', 'requirements-dev.txt', 'pyproject.toml' |
    ForEach-Object { (Get-FileHash (Join-Path $root $_) -Algorithm SHA256).Hash.Substring(0, 16) }
$now = "$mode $($hashes -join '-') $root"

Push-Location $root
try {
    if ($before -eq $now -and (Test-Path $agent) -and (Test-Python $venvPython @())) {
        Write-Output 'Already set up; nothing to install.'
    } else {
        if (Test-Reusable) { Set-Content $stamp 'unfinished' } else { New-Venv }
        Write-Output 'Installing the packages; the first time takes a minute or two ...'
        $requirements = if ($mode -eq 'plain') { 'requirements.txt' } else { "requirements-$mode.txt" }
        Install-Into 'the pinned packages' @('-r', $requirements)
        Install-Into 'the project' @('--no-deps', '--editable', '.')
        Set-Content $stamp $now -Encoding UTF8
    }

    New-Item -ItemType Directory -Force python_projects -ErrorAction Stop | Out-Null
    foreach ($sample in Get-ChildItem 'tests\test_samples\*.py') {
        $copy = Join-Path 'python_projects' $sample.Name
        if (-not (Test-Path $copy)) { Copy-Item $sample.FullName $copy -ErrorAction Stop }
    }
} finally {
    Pop-Location
}

Write-Output 'Ready. Try: .venv\Scripts\rmi-agent run hello_world.py'
